/** Configurations that nobody writes by mistake: one classified error each, soon, and nothing else is changed. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../src/config/load.js';
import { ConfigError } from '../../src/errors.js';

const RECORDS = 'These are records of data (["prompt"]), not a configuration. Name the file in data.train';

const VALID = `method: sr-dpo
model: { path: model }
data: { format: hh, train: train.jsonl }
output: { folder: run }
`;

async function errorOf(content: string | Uint8Array, overrides: string[] = []): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), 'sralign-config-')), 'run.yaml');
  await writeFile(file, content);
  const error = await loadConfig(file, overrides).catch(error => error);
  expect(error).toBeInstanceOf(ConfigError);
  expect(error.message.length).toBeLessThan(1000);
  return error.message;
}

afterEach(() => {
  for (const name of ['x', 'y']) expect(name in {}).toBe(false);
});

describe('keys that every object has', () => {
  it.each([
    ['__proto__.x=1', '__proto__'],
    ['__proto__=1', '__proto__'],
    ['loss.__proto__.x=1', 'loss.__proto__'],
    ['loss={__proto__: {x: 1}}', 'loss.__proto__'],
    ['constructor.prototype.x=1', 'constructor'],
    ['model.constructor.prototype.x=1', 'model.constructor'],
    ['toString.x=1', 'toString'],
    ['hasOwnProperty=1', 'hasOwnProperty'],
  ])('are unknown to --set %s', async (override, key) => {
    expect(await errorOf(VALID, [override])).toContain(`--set ${override}, field "${key}": Unknown key.`);
  });

  it.each([
    ['__proto__: { x: 1 }', '__proto__'],
    ['loss: { __proto__: { x: 1 } }', 'loss.__proto__'],
    ['constructor: { prototype: { x: 1 } }', 'constructor'],
  ])('are unknown in a file: %s', async (yaml, key) => {
    expect(await errorOf(VALID + yaml)).toMatch(new RegExp(`:5:\\d+, field "${key}": Unknown key\\.`));
  });

  it('are unknown in a value', () => {
    const value = JSON.parse('{"method": "dpo", "loss": {"__proto__": {"x": 1}}}');
    expect(() => parseConfig(value)).toThrow('field "loss.__proto__": Unknown key.');
  });
});

describe('YAML that multiplies, nests or refers to itself', () => {
  const aliases = Array.from({ length: 9 }, (_, i) => `k${i + 1}: &k${i + 1} [${`*k${i}, `.repeat(9)}]`);
  const bomb = `k0: &k0 [x]\n${aliases.join('\n')}\n`;

  it.each([
    ['alias bombs', bomb + VALID, 'too many aliases'],
    ['an unknown alias', `${VALID}loss: *nothing`, 'Unresolved alias'],
    ['deep lists of lines', `${VALID}loss:\n${'- '.repeat(30_000)}1`, 'nested too deeply'],
    ['a list without an end', `${VALID}loss: ${'['.repeat(30_000)}`, 'nested too deeply'],
    ['deep lists', `${VALID}loss: ${'['.repeat(30_000)}${']'.repeat(30_000)}`, 'nested too deeply'],
    ['deep mappings', `${VALID}loss: ${'{a: '.repeat(9000)}1${'}'.repeat(9000)}`, 'nested too deeply'],
    ['tags', `${VALID}loss: !!python/object:os.system { beta: 1 }`, 'tag'],
    ['sets', `${VALID}loss: !!set { a, b }`, 'tag'],
    ['keys that are lists', `${VALID}? [a]\n: 1`, 'A key must be a text.'],
    ['the character NUL', `${VALID}reference: { model: "a\\0b" }`, 'NUL'],
    ['two documents', `${VALID}---\n${VALID}`, 'Source contains multiple documents.'],
  ])('%s', async (_, yaml, message) => {
    const error = await errorOf(yaml);
    expect(error).toContain('This is not valid YAML: ');
    expect(error).toContain(message);
  });

  it.each([
    ['loss.beta=&a [*a]', 'field "loss.beta": Expected number, found a value that refers to itself.'],
    [`loss.beta=${'['.repeat(30_000)}`, 'This is not valid YAML: It is nested too deeply.'],
    ['loss.beta=*a', 'This is not valid YAML: Unresolved alias'],
    ['loss.beta=!!binary aGk=', 'This is not valid YAML: The tag'],
    ['loss.beta=.inf', 'field "loss.beta": Expected number, found Infinity.'],
    [`method=${'x'.repeat(1e6)}`, 'field "method": Expected one of'],
    [
      'training.epochs=9007199254740992',
      'field "training.epochs": Expected int <=9007199254740991, found 90071',
    ],
  ])('in --set %.40s', async (override, message) => {
    expect(await errorOf(VALID, [override])).toContain(message);
  });

  it('finds the key that stands twice among many', async () => {
    const keys = Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`);
    expect(await errorOf(`${VALID}loss: { ${keys.join(', ')}, k7: 2 }`)).toContain(
      'The key "k7" stands there twice.',
    );
  });
});

describe('files that are no configuration', () => {
  it.each([
    ['Latin-1', Buffer.from(`${VALID}# é\n`, 'latin1'), 'The file is not text in UTF-8.'],
    ['weights', Buffer.from([0xff, 0xfe, 0, 1]), 'The file is not text in UTF-8.'],
    [
      'a large data file',
      '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'.repeat(50_000),
      'larger than 1 MiB',
    ],
    ['JSON lines', '{"prompt": "a"}\n{"prompt": "b"}\n', RECORDS],
    ['one JSON line', '{"prompt": "a"}\n', RECORDS],
    ['a JSON array', '[{"prompt": "a"},\n{"prompt": "b"}]', RECORDS],
    ['a JSON array on one line', '[{"prompt": "a"}]\n', RECORDS],
  ])('%s', async (_, content, message) => {
    expect(await errorOf(content)).toContain(message);
  });

  it('a table', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'sralign-config-')), 'pairs.csv');
    await writeFile(file, 'prompt,chosen,rejected\na,b,c\n');
    await expect(loadConfig(file)).rejects.toThrow(
      `${file}: These are records of data (["prompt","chosen","rejected"]), not a configuration. Name the file in data.train`,
    );
  });

  it('a folder', async () => {
    await expect(loadConfig(tmpdir())).rejects.toThrow(
      'This is a folder, not a configuration. Give a YAML file. That of a run is config.yaml in its folder;',
    );
  });

  it('but a configuration may be written as JSON', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'sralign-config-')), 'run.json');
    const value = {
      method: 'dpo',
      model: { path: 'm' },
      data: { format: 'hh', train: 't' },
      output: { folder: 'r' },
    };
    await writeFile(file, JSON.stringify(value));
    expect((await loadConfig(file)).method).toBe('dpo');
  });

  it('a device that never ends', async () => {
    await expect(loadConfig('/dev/zero')).rejects.toThrow('/dev/zero: The file is larger than 1 MiB.');
  });
});
