/** Tokenizers of the tests. */
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** SentencePiece-like: 512 pieces, bytes for the rest, a space in front, BOS. */
export const STORIES = here('../fixtures/tokenizers/stories260k');
/** Byte-level: no space in front, no BOS; the folder has no tokenizer_config.json. */
export const NEOX = here('../../../../examples/tokenizers/gpt-neox-20b');

/** Ends every turn with EOS and a newline, as Zephyr's template does. */
export const CHAT_TEMPLATE = `{% for message in messages %}
[{{ message['role'] }}]
{{ message['content'] + eos_token }}
{% endfor %}
{% if add_generation_prompt %}
[assistant]
{% endif %}
`;

/** A copy of the stories tokenizer with other settings. */
export async function storiesWith(settings: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sralign-tokenizer-'));
  await cp(STORIES, folder, { recursive: true });
  const file = join(folder, 'tokenizer_config.json');
  const config = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...config, ...settings }));
  return folder;
}
