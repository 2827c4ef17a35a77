/** Records as data files, and the rows that reading them gives. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import { readPreferenceRows } from '../../src/data/read.js';
import { SralignError } from '../../src/errors.js';
import { temporaryFolder } from '../support.js';

/** An excerpt of a published data set. */
export const published = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/data/preference/${name}`, import.meta.url));

let temporary: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => {
  temporary = await temporaryFolder();
});
afterAll(() => temporary[Symbol.asyncDispose]());

/** In the folder of this test file. */
export const fileNamed = (name: string): string => join(temporary.path, name);

let files = 0;
/** Writes records as JSON lines. */
export async function save(...records: unknown[]): Promise<string> {
  const file = fileNamed(`${files++}.jsonl`);
  await writeFile(file, records.map(record => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

export type Options = Parameters<typeof readPreferenceRows>[2];

export const read = async (options: Options, ...records: unknown[]) =>
  readPreferenceRows([await save(...records)], 'auto', options);

/** The pairs of records: prompt (a text, or messages as "role: content"), chosen, rejected. */
export async function pairsOf(options: Options, ...records: unknown[]) {
  const { rows } = await read(options, ...records);
  return rows.map(({ prompt, chosen, rejected }) => [
    prompt.kind === 'text' ? prompt.text : prompt.messages.map(({ role, content }) => `${role}: ${content}`),
    chosen,
    rejected,
  ]);
}

/** What a refusal of input says. */
export async function messageOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => null,
    cause => cause,
  );
  expect(error).toBeInstanceOf(SralignError);
  expect(error.exitCode).toBe(2);
  return error.message;
}

export const user = (content: string) => ({ role: 'user', content });
export const assistant = (content: string) => ({ role: 'assistant', content });
export const pair = { prompt: 'Q', chosen: 'good', rejected: 'bad' };
