/** Tokenizers of the tests. */

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EncodeTask } from '../../src/tokens/row-encoder.js';

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

/** A copy of the stories tokenizer with other settings, and with special tokens of its own. */
export async function storiesWith(
  settings: Record<string, unknown>,
  addedTokens: readonly string[] = [],
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sralign-tokenizer-'));
  await cp(STORIES, folder, { recursive: true });
  await editJson(join(folder, 'tokenizer_config.json'), config => Object.assign(config, settings));
  if (addedTokens.length === 0) return folder;
  await rm(join(folder, 'special_tokens_map.json'));
  await editJson(join(folder, 'tokenizer.json'), tokenizer => {
    const { vocab } = tokenizer.model as { vocab: object };
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    const first = Object.keys(vocab).length;
    const tokens = addedTokens.map((content, index) => ({ id: first + index, content, ...flags }));
    (tokenizer.added_tokens as unknown[]).push(...tokens);
  });
  return folder;
}

async function editJson(file: string, edit: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  edit(json);
  await writeFile(file, JSON.stringify(json));
}

/** How the rows of tests are encoded. */
export const policy = { maxTokens: 40, maxPromptTokens: 20, longPrompt: 'keep-end' } as const;
export const task: EncodeTask = {
  kind: 'pairs',
  turns: 'all',
  policy,
  augmentation: null,
  limits: null,
  onBadRow: 'error',
};
