/**
 * What a run was made of: digests of everything outside its folder that decides its steps. Every checkpoint keeps them, as
 * `inputs.json`, and a run goes on only with the same.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { readJsonFile } from '../hf/folder.js';
import type { EncodedStream } from '../tokens/encode-stream.js';
import { DIGEST_BYTES } from '../tokens/example-store.js';

export const INPUTS_FILE = 'inputs.json';

const dataSchema = z.strictObject({
  /** Of every pair and of p. */
  sha256: z.string(),
  pairs: z.int().min(0),
  /** The beginning of each pair's own digest, DIGEST_BYTES long, one behind the other in base64. */
  pairDigests: z.string(),
});

const schema = z.strictObject({
  train: dataSchema,
  eval: dataSchema.nullable(),
  tokenizer: z.string(),
  /** null: none. */
  chatTemplate: z.string().nullable(),
  /** Configuration, initial weights and compute type (reference/key.ts). */
  model: z.string(),
  /** null: none is needed. */
  reference: z.string().nullable(),
});

export type DataDigest = z.output<typeof dataSchema>;
export type RunInputs = z.output<typeof schema>;

/** The digest of every token of every example, and of which of them are trained on, in their order. */
export function digestData({ chunks, sharedAugmentation }: DigestedData): DataDigest {
  const digests = Buffer.concat(chunks.map(chunk => chunk.digests));
  const sha256 = createHash('sha256').update(sharedAugmentation).update(digests).digest('hex');
  return { sha256, pairs: digests.length / DIGEST_BYTES, pairDigests: digests.toString('base64') };
}

type DigestedData = Pick<EncodedStream, 'chunks' | 'sharedAugmentation'>;

export const digestText = (text: string): string => createHash('sha256').update(text).digest('hex');

/** @throws RunError when the disk refuses */
export const writeInputs = (folder: string, inputs: RunInputs): Promise<void> =>
  writeFileAtomic(join(folder, INPUTS_FILE), `${JSON.stringify(inputs)}\n`);

/**
 * Refuses to go on from a checkpoint with other inputs than its own.
 *
 * @param templateField the setting that the chat template is from
 * @throws CheckpointError naming the first that differs
 */
export async function checkInputs(
  folder: string,
  now: RunInputs,
  templateField: 'model.tokenizer' | 'tokens.chatTemplate',
): Promise<void> {
  const file = join(folder, INPUTS_FILE);
  const { data: before } = schema.safeParse(await readJsonFile(file));
  if (before === undefined) throw new CheckpointError('The inputs of the run cannot be read.', { file });
  const refuse = (field: string, message: string): CheckpointError =>
    new CheckpointError(message, {
      file: folder,
      field,
      hint: 'Put back what the run was started with, or start a new one in another output.folder.',
    });
  // What others are made with comes first, so that the cause is named and not what follows from it.
  for (const [key, field, what] of [
    ['chatTemplate', templateField, 'The chat template is not the one'],
    ['tokenizer', 'model.tokenizer', 'The tokenizer is not the one'],
    ['model', 'model.path', 'The initial model (its config.json or its weights) is not the one'],
    ['reference', 'reference.model', 'The reference model (its config.json or its weights) is not the one'],
  ] as const) {
    if (before[key] !== now[key]) throw refuse(field, `${what} that the run was started with.`);
  }
  for (const [key, what] of [
    ['train', 'The training pairs are'],
    ['eval', 'The evaluation pairs are'],
  ] as const) {
    if (before[key]?.sha256 === now[key]?.sha256) continue;
    const change = describeChange(before[key], now[key]);
    throw refuse(`data.${key}`, `${what} not those that the run was started with: ${change}.`);
  }
}

/** "24 pairs then, 25 now; 1 added, 2 edited". */
function describeChange(before: DataDigest | null, now: DataDigest | null): string {
  const [old, current] = [pairDigests(before), pairDigests(now)];
  const { kept: keptBefore, left: gone } = partition(old, current);
  const { kept: keptNow, left: fresh } = partition(current, old);
  const edited = Math.min(gone.length, fresh.length);
  const moved = keptBefore.filter((digest, i) => digest !== keptNow[i]).length;
  const changes = [
    [fresh.length - edited, 'added'],
    [gone.length - edited, 'removed'],
    [edited, 'edited'],
    [moved, 'in another place'],
  ] as const;
  const named = changes.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return [
    `${old.length} pairs then, ${current.length} now`,
    named.length === 0 ? 'with another quality prompt' : named.join(', '),
  ].join('; ');
}

function pairDigests(data: DataDigest | null): string[] {
  const bytes = Buffer.from(data?.pairDigests ?? '', 'base64');
  return Array.from({ length: Math.floor(bytes.length / DIGEST_BYTES) }, (_, i) =>
    bytes.toString('latin1', i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES),
  );
}

/** What a list has in common with another, counting equal ones, and what it has beyond. */
function partition(list: readonly string[], other: readonly string[]): Record<'kept' | 'left', string[]> {
  const counts = new Map<string, number>();
  for (const item of other) counts.set(item, (counts.get(item) ?? 0) + 1);
  const [kept, left]: [string[], string[]] = [[], []];
  for (const item of list) {
    const count = counts.get(item) ?? 0;
    counts.set(item, count - 1);
    (count > 0 ? kept : left).push(item);
  }
  return { kept, left };
}
