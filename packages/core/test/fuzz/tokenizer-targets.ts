/** Tokenizers and chat templates. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  BudgetExceeded,
  TemplateFailure,
  TemplateSyntaxError,
  UnsupportedConstruct,
} from '../../dist/tokens/jinja/errors.js';
import { JinjaTemplate } from '../../dist/tokens/jinja/template.js';
import { loadTokenizer } from '../../dist/tokens/tokenizer.js';
import { bytesOf, jsonOf, type Target, textOf } from './target.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/', import.meta.url));
const story = join(fixtures, 'tokenizers/stories260k');
const SETTINGS = ['tokenizer_config.json', 'special_tokens_map.json'];

async function useTokenizer(folder: string): Promise<void> {
  const tokenizer = await loadTokenizer(folder);
  for (const text of ['Hello, World 123\n', ' é日本😀 <s></s>', '']) {
    const ids = tokenizer.encode(text);
    tokenizer.decode(ids);
    tokenizer.encode(text, { continues: true });
  }
}

const byteLevel = {
  version: '1.0',
  added_tokens: [
    {
      id: 9,
      content: '<|endoftext|>',
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
  ],
  normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      {
        type: 'Split',
        pattern: { Regex: "'s|\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+|." },
        behavior: 'Isolated',
        invert: false,
      },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
  post_processor: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true },
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: '',
    end_of_word_suffix: '',
    fuse_unk: false,
    byte_fallback: false,
    vocab: { h: 0, e: 1, l: 2, o: 3, Ġ: 4, he: 5, ll: 6, hell: 7, hello: 8 },
    merges: ['h e', 'l l', 'he ll', 'hell o'],
  },
};

const settingsTargets = SETTINGS.concat('added_tokens.json', 'generation_config.json').map(
  (name): Target => ({
    name: name.replace('.json', '').replaceAll('_', '-'),
    shape: 'json',
    seeds: [
      jsonOf({
        bos_token: '<s>',
        eos_token: { content: '</s>', lstrip: false, rstrip: true },
        unk_token: '<unk>',
        pad_token: null,
        additional_special_tokens: ['<a>', { content: '<b>' }],
        add_bos_token: true,
        chat_template: [{ name: 'default', template: 'x' }],
        eos_token_id: [2, 1],
        '<c>': 512,
        '<d>': 513,
      }),
      jsonOf({ '<c>': 512, '<d>': 513 }),
      jsonOf({
        eos_token: '</s>',
        added_tokens_decoder: {
          2: { content: '</s>', special: true },
          512: { content: '<e>', single_word: true },
        },
      }),
    ],
    async run(bytes, folder) {
      for (const file of ['tokenizer.json', ...SETTINGS]) copyFileSync(join(story, file), join(folder, file));
      writeFileSync(join(folder, name), bytes);
      await useTokenizer(folder);
    },
  }),
);

const { variables, cases } = JSON.parse(readFileSync(join(fixtures, 'chat-templates.json'), 'utf8')) as {
  variables: Record<string, unknown>;
  cases: { template: string }[];
};

export const tokenizerTargets: readonly Target[] = [
  {
    name: 'tokenizer-json',
    shape: 'json',
    seeds: [readFileSync(join(story, 'tokenizer.json')), jsonOf(byteLevel)],
    async run(bytes, folder) {
      for (const file of SETTINGS) copyFileSync(join(story, file), join(folder, file));
      writeFileSync(join(folder, 'tokenizer.json'), bytes);
      await useTokenizer(folder);
    },
  },
  ...settingsTargets,
  {
    name: 'chat-template',
    shape: 'bytes',
    seeds: cases.map(({ template }) => bytesOf(template)),
    expected: [TemplateSyntaxError, TemplateFailure, UnsupportedConstruct, BudgetExceeded],
    run: async bytes => new JinjaTemplate(textOf(bytes)).render(variables, new Date(2026, 0, 31)),
  },
];
