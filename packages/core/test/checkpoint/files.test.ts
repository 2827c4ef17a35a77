import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunError } from '../../src/errors.js';
import {
  appendToFile,
  removeLeftovers,
  streamFileAtomic,
  temporaryName,
  writeFileAtomic,
} from '../../src/files.js';
import { temporaryFolder } from '../support.js';

describe('writeFileAtomic', () => {
  it('replaces a file and leaves nothing beside it', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'a.txt');
    await writeFileAtomic(file, 'one');
    await writeFileAtomic(file, Buffer.from('two'));
    expect(await readFile(file, 'utf8')).toBe('two');
    expect(await readdir(folder.path)).toEqual(['a.txt']);
  });

  it('keeps the older file out of sight of the writer until it is done', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'a.txt');
    await writeFileAtomic(file, 'old');
    const failing = streamFileAtomic(file, async handle => {
      await handle.writeFile('half');
      expect(await readFile(file, 'utf8')).toBe('old');
      throw new TypeError('stop');
    });
    await expect(failing).rejects.toThrow(TypeError);
    expect(await readFile(file, 'utf8')).toBe('old');
    expect(await readdir(folder.path)).toEqual(['a.txt']);
  });

  it('says which file the disk refuses', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'none', 'a.txt');
    await expect(writeFileAtomic(file, '')).rejects.toThrow(RunError);
    await expect(writeFileAtomic(file, '')).rejects.toThrow(`${file}: It cannot be written (ENOENT`);
    expect(() => appendToFile(file, '')).toThrow(RunError);
  });

  it('asks for space when the disk is full', async () => {
    await using folder = await temporaryFolder();
    const full = Object.assign(new Error('no space left'), { code: 'ENOSPC', syscall: 'write' });
    const writing = streamFileAtomic(join(folder.path, 'a'), () => Promise.reject(full));
    await expect(writing).rejects.toThrow(/cannot be written \(no space left\)\. Free space/);
  });
});

describe('removeLeftovers', () => {
  it('deletes temporary files and folders only', async () => {
    await using folder = await temporaryFolder();
    await writeFile(temporaryName(join(folder.path, 'a.txt')), '');
    await mkdir(join(temporaryName(join(folder.path, 'b')), 'deep'), { recursive: true });
    for (const name of ['.tmp', '.tmp-notes', 'tmp-a-1', 'a.txt'])
      await writeFile(join(folder.path, name), '');
    await removeLeftovers(folder.path);
    expect((await readdir(folder.path)).sort()).toEqual(['.tmp', '.tmp-notes', 'a.txt', 'tmp-a-1']);
    await removeLeftovers(join(folder.path, 'none'));
  });
});
