import { existsSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../src/files.js';
import { temporaryFolder } from './support.js';

it('makes a folder and those above it, and says which was the first that was missing', async () => {
  await using folder = await temporaryFolder();
  const [first, last] = [join(folder.path, 'a'), join(folder.path, 'a', 'b', 'c')];
  expect(makeFolder(last)).toBe(first);
  expect(existsSync(last)).toBe(true);
  expect(makeFolder(last)).toBeUndefined();
  expect(makeFolder(join(last, '..', 'd', ''))).toBe(join(folder.path, 'a', 'b', 'd'));
});

it('does not take a file, or a link that leads nowhere, for a folder', async () => {
  await using folder = await temporaryFolder();
  const [file, link] = [join(folder.path, 'file'), join(folder.path, 'link')];
  await writeFile(file, '');
  await symlink(join(folder.path, 'nowhere'), link);
  expect(() => makeFolder(file)).toThrow('EEXIST');
  expect(() => makeFolder(join(file, 'below'))).toThrow('ENOTDIR');
  expect(() => makeFolder(link)).toThrow('EEXIST');
});

it.runIf(existsSync('/proc/self'))(
  'ends where the file system says that there is nothing to make a folder in',
  () => {
    expect(() => makeFolder('/proc/sralign/cache')).toThrow('ENOENT');
  },
);
