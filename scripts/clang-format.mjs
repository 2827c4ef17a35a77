// Formats the C++ and CUDA sources, or with --check only says which are not formatted.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const sources = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'native', 'src');
const files = readdirSync(sources, { recursive: true })
  .filter(file => /\.(h|cc|cu|cuh)$/.test(file))
  .map(file => path.join(sources, file));

const check = process.argv.includes('--check');
const result = spawnSync('clang-format', [...(check ? ['--dry-run', '--Werror'] : ['-i']), ...files], {
  stdio: 'inherit',
});
if (result.error !== undefined) {
  const help = 'clang-format is missing ("apt-get install clang-format" on Debian and Ubuntu)';
  process.stderr.write(`${help}${check ? ': the C++ sources were not checked' : ''}.\n`);
  process.exit(check ? 0 : 1);
}
process.exit(result.status ?? 1);
