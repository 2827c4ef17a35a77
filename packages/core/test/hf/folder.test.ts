import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { copyTokenizerFiles, readJsonFile } from '../../src/hf/folder.js';
import { temporaryFolder } from '../support.js';

describe('readJsonFile', () => {
  it('reads JSON, and names a file that is missing or damaged', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'config.json');
    await expect(readJsonFile(file)).rejects.toThrow(`${file}: The file is missing.`);
    await writeFile(file, '{"a": [1]}');
    expect(await readJsonFile(file)).toEqual({ a: [1] });
    await writeFile(file, '{"a": ');
    await expect(readJsonFile(file)).rejects.toThrow(/config\.json: The file is not valid JSON/);
    await expect(readJsonFile(folder.path)).rejects.toThrow(/cannot be read \(not a regular file/);
  });
});

describe('copyTokenizerFiles', () => {
  it('copies what belongs to the tokenizer and the licence, and nothing that describes the old weights', async () => {
    await using folder = await temporaryFolder();
    const [from, to] = [join(folder.path, 'from'), join(folder.path, 'to')];
    await mkdir(join(from, 'tokenizer_old'), { recursive: true });
    const copied = [
      'LICENSE',
      'chat_template.jinja',
      'generation_config.json',
      'merges.txt',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer.model',
      'tokenizer_config.json',
      'vocab.json',
    ];
    const left = [
      'README.md',
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'trainer-state.json',
    ];
    for (const name of [...copied, ...left]) await writeFile(join(from, name), `of ${name}`);
    await copyTokenizerFiles(from, to);
    expect((await readdir(to)).sort()).toEqual(copied);
    expect(await readFile(join(to, 'merges.txt'), 'utf8')).toBe('of merges.txt');
  });
});
