/** A verification case on disk: two models, token ids of pairs, and the float64 numbers they must give. */
import { join } from 'node:path';
import { z } from 'zod';
import { ModelError } from '../errors.js';
import { readJsonFile } from '../hf/folder.js';

const ids = z.array(z.int().min(0));
const numbers = z.array(z.number());
const groups = z.object({ chosen: numbers, rejected: numbers, augChosen: numbers, augRejected: numbers });
const optimizerRun = z.object({
  lr: z.number(),
  maxGradNorm: z.number(),
  weightDecay: z.number(),
  losses: numbers,
  gradNorms: numbers,
});

const caseSchema = z.object({
  architecture: z.string(),
  beta: z.number(),
  lambda: z.number(),
  augmentation: ids,
  pairs: z.array(z.object({ prompt: ids, chosen: ids, rejected: ids })),
  reference: groups,
  policy: groups,
  margin: numbers,
  delta: numbers,
  losses: z.record(z.string(), z.number()),
  gradNorm: z.record(z.string(), z.number()),
  rmsprop: optimizerRun,
  adamw: optimizerRun,
});

export type VerificationCase = z.infer<typeof caseSchema>;
export type LogpGroups = z.infer<typeof groups>;

/** @throws ModelError when case.json is missing or not in the format */
export async function readCase(folder: string): Promise<VerificationCase> {
  const file = join(folder, 'case.json');
  const parsed = caseSchema.safeParse(await readJsonFile(file));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new ModelError(issue.message, {
    file,
    field: issue.path.join('.'),
    hint: 'A case folder has case.json, expected.safetensors, model/ and ref/.',
  });
}
