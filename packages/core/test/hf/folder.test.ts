import { execFileSync } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCompanions, readJsonFile } from '../../src/hf/folder.js';
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
    await expect(readJsonFile(folder.path)).rejects.toThrow(/This is not a regular file/);
  });
});

describe('readCompanions', () => {
  it('holds what belongs to the tokenizer and the licence, and nothing that describes the old weights', async () => {
    await using folder = await temporaryFolder();
    const from = join(folder.path, 'from');
    await mkdir(join(from, 'tokenizer_old'), { recursive: true });
    const held = [
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
    const left = ['model.safetensors', 'optimizer.safetensors', 'trainer-state.json'];
    for (const name of [...held, ...left, 'README.md']) await writeFile(join(from, name), `of ${name}`);
    await writeFile(join(from, 'config.json'), '{"a": 1}');
    const companions = await readCompanions(from);
    await rm(from, { recursive: true });
    expect([...companions.files.keys()].sort()).toEqual(held);
    expect(companions.files.get('merges.txt')!.toString()).toBe('of merges.txt');
    expect(companions).toMatchObject({ config: { a: 1 }, card: 'of README.md' });
  });

  it("puts the files of a tokenizer of its own in the place of the model's", async () => {
    await using folder = await temporaryFolder();
    const [model, tokenizer] = [join(folder.path, 'model'), join(folder.path, 'tokenizer')];
    for (const of of [model, tokenizer]) {
      await mkdir(of);
      await writeFile(join(of, 'tokenizer.json'), of);
    }
    await writeFile(join(model, 'config.json'), '{}');
    const { files } = await readCompanions(model, tokenizer);
    expect(files.get('tokenizer.json')!.toString()).toBe(tokenizer);
  });

  it.each(['LICENSE', 'chat_template.jinja', 'tokenizer_config.json', 'config.json', 'README.md'])(
    'names %s where it is a link that leads nowhere, or in a circle',
    async name => {
      await using folder = await temporaryFolder();
      const link = join(folder.path, name);
      if (name !== 'config.json') await writeFile(join(folder.path, 'config.json'), '{}');
      await symlink(join(folder.path, 'gone'), link);
      await expect(readCompanions(folder.path)).rejects.toThrow(`${link}: This link leads to nothing.`);
      await rm(link);
      await symlink(name, link);
      await expect(readCompanions(folder.path)).rejects.toThrow(/cannot be looked at \(ELOOP/);
    },
  );

  it('does not wait for a pipe', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'config.json'), '{}');
    execFileSync('mkfifo', [join(folder.path, 'tokenizer.json')]);
    await expect(readCompanions(folder.path)).rejects.toThrow(/tokenizer\.json: This is not a regular file/);
  });
});
