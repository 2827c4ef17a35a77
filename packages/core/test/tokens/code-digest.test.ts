/** What is part of the name of an encoded set: every file of code, and every library that it may call. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { codeDigest, digestCode } from '../../src/tokens/code-digest.js';
import { temporaryFolder } from '../support.js';

let folder: string;
beforeEach(async () => {
  folder = (await temporaryFolder()).path;
  return () => rm(folder, { recursive: true, force: true });
});

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
}

const digest = () => digestCode([join(folder, 'dist')], join(folder, 'package.json'));

it('changes with any code, and with the version of any library, those of libraries included', async () => {
  const library = (version: string, dependencies = {}) => JSON.stringify({ version, dependencies });
  await write({
    'package.json': library('1', { '@a/parser': '^1', absent: '^1' }),
    'node_modules/@a/parser/package.json': library('1.0.0', { b: '^1' }),
    'node_modules/@a/parser/node_modules/b/package.json': library('1.0.0', { '@a/parser': '^1' }),
    'node_modules/c/package.json': library('1.0.0'),
    'dist/data/formats/pairs.js': 'a',
    'dist/tokens/encode.js': 'b',
    'dist/files.js': 'c',
    'dist/files.d.ts': 'd',
    'dist/files.js.map': 'e',
  });
  const seen = [digest()];
  const changes = [
    ['dist/data/formats/pairs.js', 'b'],
    ['dist/tokens/encode.js', 'a'],
    ['dist/files.js', ''],
    ['dist/data/new.js', ''],
    ['node_modules/@a/parser/package.json', library('1.0.1', { b: '^1' })],
    ['node_modules/@a/parser/node_modules/b/package.json', library('1.0.1')],
  ];
  for (const [name, content] of changes) {
    await write({ [name!]: content! });
    expect(digest()).toBe(digest());
    seen.push(digest());
  }
  expect(new Set(seen).size).toBe(changes.length + 1);
  await write({
    'node_modules/c/package.json': library('1.0.1'),
    'dist/files.d.ts': '',
    'dist/files.js.map': '',
  });
  expect(digest()).toBe(seen.at(-1));
});

it('is one of what runs', () => {
  expect(codeDigest()).toMatch(/^[0-9a-f]{64}$/);
  expect(codeDigest()).toBe(codeDigest());
});
