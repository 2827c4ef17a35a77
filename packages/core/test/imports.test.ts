import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const source = fileURLToPath(new URL('../src', import.meta.url));

/** The way data flows; a folder imports from itself and from those before it. `index.ts` names the public parts. */
const ORDER = [
  'errors.ts',
  'files.ts',
  'bounded.ts',
  'progress.ts',
  'version.ts',
  'config',
  'comm',
  'data',
  'hf',
  'tokens',
  'batch',
  'autograd',
  'shard',
  'model',
  'loss',
  'reference',
  'optim',
  'metrics',
  'checkpoint',
  'plan',
  'train',
  'generate',
  'verify',
  'index.ts',
];

it('imports follow the flow of data, and no folder is missing from it', () => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(name =>
    name.endsWith('.ts'),
  );
  const violations: string[] = [];
  for (const file of files) {
    const own = ORDER.indexOf(file.split(sep)[0]!);
    for (const [, target] of readFileSync(join(source, file), 'utf8').matchAll(/from '(\.[^']+)\.js'/g)) {
      const imported = relative(source, join(source, file, '..', `${target}.ts`));
      const place = ORDER.indexOf(imported.split(sep)[0]!);
      if (own === -1 || place === -1 || place > own) violations.push(`${file} imports ${imported}`);
    }
  }
  expect(files.length).toBeGreaterThan(40);
  expect(violations).toEqual([]);
});
