/**
 * Log-probabilities of the reference model, computed once before training and kept on disk, so that training holds one
 * model in memory. At step 0 the policy is the reference, so the policy itself can fill the cache.
 *
 * A cache file belongs to one set of weights and one compute type. An entry is found by a hash of the token ids it was
 * computed from (everything before the answers, and both answers), so tokenizer, chat template, truncation and p are in
 * the key, and pairs shared between runs and data sets are computed once. The file is JSON lines, appended as the work
 * goes on: a run that was killed continues where it stopped, and a torn last line is ignored.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Communicator, SOLO } from '@sralign/native';
import { balancedRounds } from '../batch/balance.js';
import { type PairTokens, packedTokens, type View } from '../batch/pack.js';
import { CheckpointError, RunError } from '../errors.js';
import { diskError } from '../files.js';
import { scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';

/** log pi_ref of the two answers. */
export interface AnswerLogps {
  readonly chosen: number;
  readonly rejected: number;
}

export interface ReferenceRequest {
  readonly pairs: readonly PairTokens[];
  readonly view: View;
  readonly sharedAugmentation: Int32Array;
}

const FORMAT = 1;

export class ReferenceCache {
  readonly file: string;
  private readonly entries = new Map<string, AnswerLogps>();

  /**
   * Opens or creates the cache of a reference model. With several ranks the first has the file; what it holds, and what
   * the ranks compute, all of them know.
   *
   * @param modelKey hash of the weights and compute type (reference/key.ts)
   * @throws CheckpointError when the file was made for another model or cannot be read
   */
  constructor(
    folder: string,
    modelKey: string,
    private readonly communicator: Communicator = SOLO,
  ) {
    this.file = join(folder, `${modelKey.slice(0, 16)}.jsonl`);
    if (communicator.rank === 0) this.open(folder, modelKey);
    if (communicator.worldSize === 1) return;
    for (const [key, entry] of communicator.exchange([...this.entries])[0]!) this.entries.set(key, entry);
  }

  /** The entries of a request in its order, or undefined where one has not been computed. */
  lookup(request: ReferenceRequest): (AnswerLogps | undefined)[] {
    return request.pairs.map(pair => this.entries.get(entryKey(pair, request)));
  }

  /**
   * Computes what is missing, `batchPairs` at a time on every rank, and appends it to the file.
   *
   * @param onBatch called after each batch with the number of pairs done; may wait, to let other work run
   * @returns the request's entries, in its order
   * @throws RunError when the model gives a log-prob that is not finite
   */
  async fill(
    model: CausalLM,
    request: ReferenceRequest,
    batchPairs: number,
    onBatch: (donePairs: number) => Promise<void>,
  ): Promise<AnswerLogps[]> {
    const { communicator } = this;
    const missing = request.pairs.filter(pair => !this.entries.has(entryKey(pair, request)));
    let donePairs = request.pairs.length - missing.length;
    const tokensOf = (pair: PairTokens): number => packedTokens(pair, request.view, 'both');
    for (const round of balancedRounds(missing, communicator.worldSize, batchPairs, tokensOf)) {
      const own = round[communicator.rank]!;
      if (own.length === 0) model.units.emptyPass(false);
      const computed = communicator.exchange(own.length === 0 ? [] : score(model, own, request)).flat();
      const lines = computed.map(([key, entry]) => {
        if (entry.chosen === null || entry.rejected === null) {
          throw new RunError('The reference model gives a log-prob that is not finite.', {
            hint: 'Check its weights, or compute with training.dtype f32.',
          });
        }
        this.entries.set(key, { chosen: entry.chosen, rejected: entry.rejected });
        return JSON.stringify({ pair: key, ...entry });
      });
      if (communicator.rank === 0) this.append(`${lines.join('\n')}\n`);
      donePairs += round.flat().length;
      await onBatch(donePairs);
    }
    return this.lookup(request) as AnswerLogps[];
  }

  /**
   * Recomputes a few entries and compares; all ranks do the same.
   *
   * @throws CheckpointError when the cache does not belong to this model or these kernels
   */
  verify(model: CausalLM, request: ReferenceRequest, pairs: number): void {
    const stored = request.pairs.filter(pair => this.entries.has(entryKey(pair, request)));
    const stride = Math.max(1, Math.floor(stored.length / Math.max(1, pairs)));
    const sample = stored.filter((_, i) => i % stride === 0).slice(0, pairs);
    if (sample.length === 0) return;
    const logps = scorePairs(model, sample, request.view, 'both', request.sharedAugmentation);
    const [absolute, relative] = model.computeType === 'f32' ? [1e-3, 1e-5] : [0.05, 0.02];
    for (const [i, pair] of sample.entries()) {
      const { chosen, rejected } = this.entries.get(entryKey(pair, request))!;
      for (const [name, cached, now] of [
        ['chosen', chosen, logps[2 * i]!],
        ['rejected', rejected, logps[2 * i + 1]!],
      ] as const) {
        if (Math.abs(cached - now) <= absolute + relative * Math.abs(now)) continue;
        throw new CheckpointError(
          `The cached reference log-prob of a ${name} answer is ${cached}, but the model gives ${now}.`,
          { file: this.file, hint: 'Delete this file: it will be computed again.' },
        );
      }
    }
  }

  private open(folder: string, modelKey: string): void {
    mkdirSync(folder, { recursive: true });
    if (existsSync(this.file)) this.read(modelKey);
    if (!existsSync(this.file)) this.append(`${JSON.stringify({ format: FORMAT, model: modelKey })}\n`);
  }

  private read(modelKey: string): void {
    const text = readFileSync(this.file, 'utf8');
    const complete = text.slice(0, text.lastIndexOf('\n') + 1);
    const [header, ...lines] = complete.split('\n').filter(line => line !== '');
    if (header === undefined) {
      truncateSync(this.file, 0);
      this.append(`${JSON.stringify({ format: FORMAT, model: modelKey })}\n`);
      return;
    }
    const { format, model } = this.parse(header);
    if (format !== FORMAT || model !== modelKey) {
      throw new CheckpointError('This reference cache was made for another model.', {
        file: this.file,
        hint: 'Delete the file or choose another reference.cacheFolder.',
      });
    }
    for (const line of lines) {
      const { pair, chosen, rejected } = this.parse(line);
      if (typeof pair !== 'string' || typeof chosen !== 'number' || typeof rejected !== 'number') {
        throw this.damaged();
      }
      this.entries.set(pair, { chosen, rejected });
    }
    // What a killed run left after the last complete line goes, so that the next line starts on its own.
    if (complete.length < text.length) truncateSync(this.file, Buffer.byteLength(complete));
  }

  private parse(line: string): Record<string, unknown> {
    try {
      return JSON.parse(line) as Record<string, unknown>;
    } catch {
      throw this.damaged();
    }
  }

  private damaged(): CheckpointError {
    return new CheckpointError('The reference cache is damaged.', {
      file: this.file,
      hint: 'Delete this file: it will be computed again.',
    });
  }

  private append(text: string): void {
    try {
      const descriptor = openSync(this.file, 'a');
      try {
        writeSync(descriptor, text);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw diskError(error, this.file);
    }
  }
}

/** log pi_ref of pairs under their keys; null where it is not finite. */
function score(
  model: CausalLM,
  pairs: readonly PairTokens[],
  request: ReferenceRequest,
): [string, { chosen: number | null; rejected: number | null }][] {
  const logps = scorePairs(model, pairs, request.view, 'both', request.sharedAugmentation);
  const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
  return pairs.map((pair, i) => [
    entryKey(pair, request),
    { chosen: finite(logps[2 * i]!), rejected: finite(logps[2 * i + 1]!) },
  ]);
}

/** Hash of the tokens that the two log-probs depend on. */
function entryKey(pair: PairTokens, { view, sharedAugmentation }: ReferenceRequest): string {
  const prefix = view === 'plain' ? [...pair.prompt] : [...sharedAugmentation, ...pair.augmentedPrompt];
  const ids = [prefix.length, ...prefix, pair.chosen.length, ...pair.chosen, ...pair.rejected];
  return createHash('sha256').update(Int32Array.from(ids)).digest('base64url').slice(0, 24);
}
