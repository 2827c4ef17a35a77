/**
 * Log-probabilities of the reference model, computed once before training and kept on disk, so that training holds one
 * model in memory. At step 0 the policy is the reference, so the policy itself can fill the cache.
 *
 * A cache file belongs to one set of weights and one compute type. An entry is found by a hash of the token ids it was
 * computed from (everything before the answers, and both answers), so tokenizer, chat template, truncation and p are in
 * the key, and pairs shared between runs and data sets are computed once. The file (reference/records.ts) is appended to
 * as the work goes on: a run that was killed continues where it stopped, and several processes may share it.
 */
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { type Communicator, SOLO } from '@sralign/native';
import { balancedRounds } from '../batch/balance.js';
import { packedTokens, type View } from '../batch/pack.js';
import { CheckpointError, RunError } from '../errors.js';
import { diskError, makeFolder } from '../files.js';
import { scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';
import type { PairTokens } from '../tokens/examples.js';
import { type AnswerLogps, RecordsFile } from './records.js';

export type { AnswerLogps };

export interface ReferenceRequest {
  readonly pairs: readonly PairTokens[];
  readonly view: View;
  readonly sharedAugmentation: Int32Array;
}

export class ReferenceCache {
  readonly file: string;
  private readonly entries = new Map<string, AnswerLogps>();
  /** The first rank's. */
  private readonly records: RecordsFile | null;

  /**
   * Opens the cache of a reference model, or the place for it. With several ranks the first has the file; what it holds,
   * and what the ranks compute, all of them know.
   *
   * @param modelKey hash of the weights and compute type (reference/key.ts)
   * @throws CheckpointError when the file cannot be read, RunError when the folder cannot be made
   */
  constructor(
    folder: string,
    modelKey: string,
    private readonly communicator: Communicator = SOLO,
  ) {
    this.file = join(folder, `${modelKey.slice(0, 16)}.jsonl`);
    this.records = communicator.rank === 0 ? new RecordsFile(this.file, modelKey) : null;
    try {
      if (communicator.rank === 0) makeFolder(folder);
    } catch (error) {
      throw diskError(error, folder);
    }
    this.records?.readNew((key, entry) => this.add(key, entry));
    if (communicator.worldSize === 1) return;
    for (const [key, entry] of communicator.exchange([...this.entries])[0]!) this.entries.set(key, entry);
  }

  /** Lines of the file that are damaged, or of another model; they are computed again where they are needed. */
  get damagedRecords(): number {
    return this.records?.damaged ?? 0;
  }

  /** The entries of a request in its order, or undefined where one has not been computed. */
  lookup(request: ReferenceRequest): (AnswerLogps | undefined)[] {
    return entryKeys(request).map(key => this.entries.get(key));
  }

  /**
   * Computes what is missing, `batchPairs` at a time on every rank, and appends it to the file. Where another process has
   * meanwhile added the same pair, its numbers are taken: a run that is resumed will find those first.
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
    const keys = entryKeys(request);
    const missing = request.pairs.filter((_, i) => !this.entries.has(keys[i]!));
    let donePairs = request.pairs.length - missing.length;
    const tokensOf = (pair: PairTokens): number => packedTokens(pair, request.view);
    for (const round of balancedRounds(missing, communicator.worldSize, batchPairs, tokensOf)) {
      const own = round[communicator.rank]!;
      if (own.length === 0) model.units.emptyPass(false);
      const computed = communicator.exchange(own.length === 0 ? [] : score(model, own, request)).flat();
      this.keep(computed.map(([key, entry]) => [key, finite(entry)]));
      donePairs += round.flat().length;
      await onBatch(donePairs);
    }
    return this.lookup(request) as AnswerLogps[];
  }

  /** Writes what was computed, and reads what now stands first in the file: on all ranks the same. */
  private keep(computed: (readonly [string, AnswerLogps])[]): void {
    const first = new Map<string, AnswerLogps>();
    this.records?.append(computed);
    this.records?.readNew((key, entry) => {
      if (!first.has(key) && !this.entries.has(key)) first.set(key, entry);
    });
    const [found] = this.communicator.exchange([...first]);
    for (const [key, entry] of [...found!, ...computed]) this.add(key, entry);
  }

  private add(key: string, entry: AnswerLogps): void {
    if (!this.entries.has(key)) this.entries.set(key, entry);
  }

  /**
   * Recomputes a few entries and compares; all ranks do the same.
   *
   * @throws CheckpointError when the cache does not belong to this model or these kernels
   */
  verify(model: CausalLM, request: ReferenceRequest, pairs: number): void {
    const keys = entryKeys(request);
    const stored = request.pairs.filter((_, i) => this.entries.has(keys[i]!));
    const stride = Math.max(1, Math.floor(stored.length / Math.max(1, pairs)));
    const sample = stored.filter((_, i) => i % stride === 0).slice(0, pairs);
    if (sample.length === 0) return;
    const logps = scorePairs(model, sample, request.view, request.sharedAugmentation);
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
}

function finite({ chosen, rejected }: Scored): AnswerLogps {
  if (chosen !== null && rejected !== null) return { chosen, rejected };
  throw new RunError('The reference model gives a log-prob that is not finite.', {
    hint: 'Check its weights, or compute with training.dtype f32.',
  });
}

/** null where it is not finite, which JSON cannot say. */
interface Scored {
  readonly chosen: number | null;
  readonly rejected: number | null;
}

/** log pi_ref of pairs under their keys; null where it is not finite. */
function score(model: CausalLM, pairs: readonly PairTokens[], request: ReferenceRequest): [string, Scored][] {
  const logps = scorePairs(model, pairs, request.view, request.sharedAugmentation);
  const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);
  return pairs.map((pair, i) => [
    entryKey(pair, request),
    { chosen: orNull(logps[2 * i]!), rejected: orNull(logps[2 * i + 1]!) },
  ]);
}

const knownKeys = new WeakMap<ReferenceRequest, readonly string[]>();

/** The keys of all pairs, computed once for a request: there may be hundreds of thousands. */
function entryKeys(request: ReferenceRequest): readonly string[] {
  let keys = knownKeys.get(request);
  if (keys === undefined) {
    keys = request.pairs.map(pair => entryKey(pair, request));
    knownKeys.set(request, keys);
  }
  return keys;
}

/** Hash of the tokens that the two log-probs depend on. */
function entryKey(pair: PairTokens, { view, sharedAugmentation }: ReferenceRequest): string {
  const prefix = view === 'plain' ? [pair.prompt] : [sharedAugmentation, pair.augmentedPrompt];
  const prefixTokens = prefix.reduce((sum, { length }) => sum + length, 0);
  const ids = new Int32Array(2 + prefixTokens + pair.chosen.length + pair.rejected.length);
  let filled = 0;
  for (const part of [[prefixTokens], ...prefix, [pair.chosen.length], pair.chosen, pair.rejected]) {
    ids.set(part, filled);
    filled += part.length;
  }
  return hash('sha256', ids, 'base64url').slice(0, 24);
}
