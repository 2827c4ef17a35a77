import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { DataError, ModelError } from '../../src/errors.js';
import { renderChat } from '../../src/tokens/chat-template.js';
import { UnsupportedConstruct } from '../../src/tokens/jinja/errors.js';
import { JinjaTemplate } from '../../src/tokens/jinja/template.js';
import { encodeRendered } from '../../src/tokens/sequence.js';
import { loadTokenizer } from '../../src/tokens/tokenizer.js';
import { CHAT_TEMPLATE, storiesWith } from './fixtures.js';

interface Corpus {
  readonly variables: Record<string, unknown>;
  readonly cases: readonly { readonly template: string; readonly output?: string; readonly error?: string }[];
}

/** Made by bench/peer/chat_templates.py. */
const corpus = JSON.parse(
  readFileSync(fileURLToPath(new URL('../fixtures/chat-templates.json', import.meta.url)), 'utf8'),
) as Corpus;

/** The clock of the corpus. */
const NOW = new Date(2024, 6, 9, 5, 7, 3, 42);

const messages = [
  { role: 'system', content: 'S' },
  { role: 'user', content: 'Q' },
] as const;

const chat = (chatTemplate: string | null) => ({
  chatTemplate,
  chatTemplateFile: chatTemplate === null ? null : 'm/chat_template.jinja',
  specialTokens: { eos_token: '</s>' },
  now: NOW,
});

const render = (template: string | null, where = {}): string =>
  renderChat(chat(template), messages, true, where);

function outcome(template: string): { output?: string; error?: unknown } {
  try {
    return { output: new JinjaTemplate(template).render(corpus.variables, NOW) };
  } catch (error) {
    return { error };
  }
}

describe('templates', () => {
  it('give the output of jinja2, or fail, where it does', () => {
    const wrong: unknown[] = [];
    for (const { template, output, error } of corpus.cases) {
      const ours = outcome(template);
      if (ours.error instanceof UnsupportedConstruct) continue;
      const agrees = output === undefined ? ours.error !== undefined : ours.output === output;
      if (!agrees) wrong.push({ template, output, error, ours });
    }
    expect(corpus.cases.length).toBeGreaterThan(1000);
    expect(wrong).toEqual([]);
  });

  it('are refused by name in these cases alone', () => {
    const refused = new Map<string, number>();
    for (const { template } of corpus.cases) {
      const { error } = outcome(template);
      if (!(error instanceof UnsupportedConstruct)) continue;
      refused.set(error.construct, (refused.get(error.construct) ?? 0) + 1);
    }
    expect(Object.fromEntries([...refused].sort(([a], [b]) => (a < b ? -1 : 1)))).toMatchInlineSnapshot(`
      {
        "a format inside a format": 1,
        "a power of floats that is not a whole number": 1,
        "a slice by a str": 2,
        "a slice of a NoneType": 1,
        "a slice of a dict": 1,
        "a slice of a int": 1,
        "printing a function": 4,
        "printing a generator": 5,
        "the attribute .real of a int": 1,
        "the attribute __class__": 3,
        "the date format %s": 1,
        "the filter |filesizeformat": 1,
        "the filter |pprint": 1,
        "the filter |random": 1,
        "the filter |striptags": 1,
        "the filter |urlencode": 1,
        "the filter |urlize": 1,
        "the filter |wordwrap": 1,
        "the filter |xmlattr": 1,
        "the format specification "%Y"": 1,
        "the format specification "d" of text": 1,
        "the method .encode() of text": 1,
        "the method .translate() of text": 1,
        "the name lipsum": 1,
        "the tag {% autoescape %}": 1,
        "the tag {% block %}": 1,
        "the tag {% extends %}": 1,
        "the tag {% from %}": 1,
        "the tag {% import %}": 1,
        "the tag {% include %}": 1,
        "the test is filter": 1,
      }
    `);
  });
});

describe('renderChat', () => {
  it('renders messages with the special tokens', async () => {
    const tokenizer = await loadTokenizer(await storiesWith({ chat_template: CHAT_TEMPLATE }));
    expect(renderChat(tokenizer, messages, false)).toBe('[system]\nS</s>\n[user]\nQ</s>\n');
    expect(renderChat(tokenizer, messages, true)).toBe('[system]\nS</s>\n[user]\nQ</s>\n[assistant]\n');
  });

  it('knows no tools and no documents, as transformers says', () => {
    expect(render('{{ tools is defined }} {{ tools }} {{ documents is none }}')).toBe('True None True');
  });

  it('tells the time of the tokenizer', async () => {
    expect(render("{{ strftime_now('%d %b %Y') }}")).toBe('09 Jul 2024');
    const folder = await storiesWith({ chat_template: "{{ strftime_now('%H:%M') }}" });
    expect(renderChat(await loadTokenizer(folder, { now: NOW }), messages, true)).toBe('05:07');
  });

  it('reads line ends as jinja2 does, so that a template saved on Windows gives the same tokens', async () => {
    const lines = [
      '{%- for m in messages -%}',
      "{{ '[' + m['role'] + ']' }}",
      "{{ m['content'] + eos_token }}",
      '{% endfor -%}',
      '{%- if add_generation_prompt -%}',
      "{{ '[assistant]' }}",
      '{% endif -%}',
      '',
    ];
    const turns = [
      { role: 'user', content: 'A cat' },
      { role: 'assistant', content: 'Yes' },
      { role: 'user', content: 'A dog' },
    ] as const;
    for (const end of ['\n', '\r\n']) {
      const tokenizer = await loadTokenizer(await storiesWith({ chat_template: lines.join(end) }));
      // With \r left in it the template gave 57. It writes no BOS.
      const { bos, ids } = encodeRendered(tokenizer, renderChat(tokenizer, turns, true));
      expect([bos.length, ids.length]).toEqual([0, 50]);
    }
  });

  it('strips what it is told to: the indentation of code stays', () => {
    const template = "{{ messages[1].content.split('</think>')[-1].lstrip('\\n') }}";
    const code = '    for i in range(3):\n        print(i)';
    const answered = [messages[0], { role: 'user' as const, content: `<think>x</think>\n\n${code}` }];
    expect(renderChat(chat(template), answered, false)).toBe(code);
  });

  it('says what is wrong, and with which template', () => {
    expect(() => render(null)).toThrow('The tokenizer has no chat template');
    expect(() => render('a\n{% if %}')).toThrow(
      /^m\/chat_template.jinja: The chat template is not valid \(line 2: /,
    );
    expect(() => render("{{ raise_exception('no system role') }}", { file: 'f.jsonl', row: 3 })).toThrow(
      'f.jsonl:3: The chat template refuses the conversation (no system role).',
    );
    expect(() => render('{{ messages.nope.nope }}')).toThrow(DataError);
    for (const template of ["{% include 'x' %}", "{{ 'x' | urlize }}", '{{ [].__class__ }}']) {
      expect(() => render(template)).toThrow(ModelError);
      expect(() => render(template)).toThrow(
        /^m\/chat_template.jinja: The chat template uses (the tag|the filter|the attribute) .*, which sralign/,
      );
    }
  });

  it('changes nothing of the conversation', () => {
    const frozen = Object.freeze(messages.map(message => Object.freeze({ ...message })));
    expect(
      renderChat(
        chat('{% for m in messages %}{% set m = {} %}{% endfor %}{{ messages | length }}'),
        frozen,
        true,
      ),
    ).toBe('2');
    expect(() => render('{{ messages.append(1) }}')).toThrow(
      "access to attribute 'append' of 'list' object is unsafe",
    );
    expect(
      render(
        "{{ ''.constructor is defined }}{{ messages.constructor is defined }}{{ {}.hasOwnProperty is defined }}",
      ),
    ).toBe('FalseFalseFalse');
  });
});

describe('a template that has no end', () => {
  const nested = (open: string, body: string, close: string, times: number): string =>
    open.repeat(times) + body + close.repeat(times);
  const loops = (depth: number, body: string): string =>
    nested('{% for i in range(100000) %}', body, '{% endfor %}', depth);

  it.each([
    ['loops', loops(4, '')],
    ['long output', loops(2, 'x'.repeat(1000))],
    ['long text', `{% set ns = namespace(x='ab') %}${loops(1, '{% set ns.x = ns.x + ns.x %}')}`],
    ['text times a number', "{{ 'ab' * 2000000000 }}"],
    ['list times a number', '{{ [1] * 2000000000 }}'],
    ['long lists', `{% set ns = namespace(x=[1]) %}${loops(1, '{% set ns.x = ns.x + ns.x %}')}`],
    ['long numbers', `{% set ns = namespace(x=3) %}${loops(1, '{% set ns.x = ns.x * ns.x %}')}`],
    ['replacements', "{{ ('a' * 10000) | replace('', 'b' * 10000) }}"],
    ['padding', "{{ 'a'.center(2000000000) }}"],
    ['format widths', "{{ '%9999999d' % 1 }}{{ '%9999999d' % 1 }}"],
    ['indentation', "{{ ('a\\n' * 10000) | indent(100000) }}"],
    ['searches', `{% set x = 'a' * 1000000 %}${loops(1, "{{ 'b' in x }}")}`],
    ['sorts', `{% set x = range(100000) | list %}${loops(1, '{% set y = x | sort %}')}`],
    ['batches', '{{ [1] | batch(2000000000, 0) | list }}'],
    ['recursion', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    ['recursive loops', '{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}'],
  ])('is stopped: %s', (_, template) => {
    expect(() => render(template)).toThrow(
      expect.objectContaining({
        name: 'ModelError',
        message: expect.stringMatching(
          /^m\/chat_template.jinja: The chat template does not come to an end: it (takes too much work|goes too deep)/,
        ),
      }),
    );
  });

  it.each([
    ['range', '{{ range(2000000000) | list }}', 'Range too big'],
    ['powers', '{{ 10 ** 1000000 }}', 'exponent beyond 100000'],
    ['open brackets', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`, 'nested too deeply'],
    ['open blocks', nested('{% if 1 %}', '', '{% endif %}', 100_000), 'nested too deeply'],
    ['open lists', `{{ ${'['.repeat(100_000)}${']'.repeat(100_000)} }}`, 'nested too deeply'],
    ['a namespace in itself', '{% set n = namespace() %}{% set n.n = n %}{{ n }}', 'goes too deep'],
  ])('is refused: %s', (_, template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  it('does not hold up a long chat', () => {
    const long = Array.from({ length: 2000 }, () => ({
      role: 'user' as const,
      content: 'word '.repeat(200),
    }));
    const template =
      '{% for m in messages %}{{ m.role | upper }}{{ m.content.strip().replace("w", "W") | trim }}{{ loop.index }}{% endfor %}';
    expect(renderChat(chat(template), long, true).length).toBeGreaterThan(1_900_000);
  });
});
