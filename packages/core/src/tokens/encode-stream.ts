/**
 * A stream of rows to encoded examples, whose texts are never in memory together. The rows are encoded some hundred at a time:
 * a few by this thread, more than that by others beside it. What comes out, and which error is thrown, does not depend on how
 * many there are.
 */
import { setImmediate } from 'node:timers/promises';
import { BadRows } from '../data/bad-rows.js';
import type { RowStream } from '../data/read.js';
import type { OnBadRow } from '../data/reading.js';
import { RowCounter, type RowCounts } from '../data/row-counts.js';
import { rowTexts } from '../data/row-texts.js';
import type { ReadReport, Row } from '../data/rows.js';
import { DataError } from '../errors.js';
import { reportProgress } from '../progress.js';
import type { EncodedDataset } from './encode.js';
import { badRowsIn, EncodeCounter, type EncodeReport, emptyError } from './encode-counter.js';
import { EncodePool } from './encode-pool.js';
import { type Chunk, examplesIn, examplesOf } from './example-store.js';
import {
  type EncodedRows,
  type EncodeTask,
  encodeRows,
  type PreparedTask,
  prepareTask,
  TextBehindChats,
  taskOfBadRows,
} from './row-encoder.js';
import type { Tokenizer } from './tokenizer.js';

/** Rows that are encoded at once: fewer of long texts. */
const BATCH_ROWS = 256;
const BATCH_CHARACTERS = 2 ** 20;
/** Before so many rows have come no thread is started: loading its tokenizer takes as long as encoding them. */
const ROWS_ALONE = 1024;
/** One thread reads for all of them, and keeps no more than these busy. */
const MOST_THREADS = 8;
/** Batches that are on their way to a thread, or there. */
const BATCHES_A_THREAD = 2;

export interface StreamOptions {
  /** Threads that encode. */
  readonly threads: number;
  /** Aborting it ends the work between two batches. */
  readonly signal?: AbortSignal | undefined;
}

/** Encoded examples with what was counted on the way. */
export interface EncodedStream extends EncodedDataset {
  /** What `pairs` are views of. */
  readonly chunks: readonly Chunk[];
  readonly readReports: readonly ReadReport[];
  readonly rowCounts: readonly RowCounts[];
}

/**
 * @param open begins to read from the start; called again where the first rows did not say what the later ones are
 * @throws as `encodeRows` and the stream, the error of the first row that has one; the signal's reason when it is aborted
 */
export async function encodeStream(
  open: () => RowStream,
  task: EncodeTask,
  tokenizer: Tokenizer,
  options: StreamOptions,
): Promise<EncodedStream> {
  try {
    return await encodeOnce(open(), task, tokenizer, options);
  } catch (error) {
    if (!(error instanceof TextBehindChats)) throw error;
    const augmentation = { ...task.augmentation!, placement: 'prompt' as const };
    return encodeOnce(open(), { ...task, augmentation }, tokenizer, options);
  }
}

async function encodeOnce(
  stream: RowStream,
  task: EncodeTask,
  tokenizer: Tokenizer,
  { threads, signal }: StreamOptions,
): Promise<EncodedStream> {
  const chunks: Chunk[] = [];
  const counter = new EncodeCounter();
  const rowCounter = new RowCounter();
  const take = ({ chunk, reports, counts }: EncodedRows): void => {
    if (examplesIn(chunk) > 0) chunks.push(chunk);
    counter.merge(reports);
    rowCounter.merge(counts);
  };
  let prepared: PreparedTask | null = null;
  let rows = 0;
  await using pool = new LazyPool(threads, tokenizer);
  const reading: Reading = { failure: null };
  for await (const batch of batchesOf(stream, reading)) {
    if (rows > 0) signal?.throwIfAborted();
    prepared ??= prepareTask(task, batch, tokenizer);
    if (prepared === null || rows < ROWS_ALONE || threads < 2) {
      take(encodeRows(batch, prepared ?? taskOfBadRows(task, tokenizer), tokenizer));
      await setImmediate();
    } else {
      pool.send(batch, prepared);
      while (pool.isFull) take(await pool.next());
    }
    rows += batch.length;
  }
  while (pool.isBusy) take(await pool.next());
  throwFailures(counter.reports, reading.failure, task.onBadRow);
  reportProgress({ phase: 'encoding', done: rows, total: rows, unit: 'pairs' });
  if (chunks.length === 0) throw emptyError(counter.reports);
  return {
    pairs: chunks.flatMap(examplesOf),
    sharedAugmentation: prepared!.sharedAugmentation,
    augmented: task.augmentation !== null,
    tokenizerHash: tokenizer.hash,
    reports: counter.reports,
    chunks,
    readReports: stream.reports,
    rowCounts: rowCounter.counts,
  };
}

/** The threads, from the first rows on that they are sent; their answers come in the order of the rows. */
class LazyPool implements AsyncDisposable {
  #pool: EncodePool | null = null;
  readonly #answers: Promise<EncodedRows>[] = [];

  constructor(
    private readonly threads: number,
    private readonly tokenizer: Tokenizer,
  ) {}

  get isBusy(): boolean {
    return this.#answers.length > 0;
  }

  get isFull(): boolean {
    return this.#pool !== null && this.#answers.length >= BATCHES_A_THREAD * this.#pool.threads;
  }

  send(rows: readonly Row[], task: PreparedTask): void {
    this.#pool ??= new EncodePool(Math.min(this.threads, MOST_THREADS), this.tokenizer, task);
    const answer = this.#pool.encode(rows);
    // It is looked at in its turn.
    answer.catch(() => {});
    this.#answers.push(answer);
  }

  next(): Promise<EncodedRows> {
    return this.#answers.shift()!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool?.[Symbol.asyncDispose]();
  }
}

/** Those of its answers and its last question: enough to see which rows are long. */
function charactersOf(row: Row): number {
  const { question, chosen, rejected } = rowTexts(row);
  return [question, ...chosen, ...rejected].reduce((sum, { length }) => sum + length, 0);
}

/** @throws what is wrong with rows, and how reading ended, together where both are about the data */
function throwFailures(reports: readonly EncodeReport[], failure: unknown, onBadRow: OnBadRow): void {
  const bad = onBadRow === 'error' ? badRowsIn(reports) : new BadRows();
  if (failure !== null && !(failure instanceof DataError && bad.count > 0)) throw failure;
  if (failure instanceof DataError) bad.add(failure);
  bad.throwIfAny();
}

/** How reading ended. */
interface Reading {
  /** The error that ended it: rows before it are encoded first, since one of them may be wrong, too. */
  failure: unknown;
}

async function* batchesOf(stream: RowStream, reading: Reading): AsyncGenerator<Row[]> {
  let batch: Row[] = [];
  let characters = 0;
  try {
    for await (const row of stream) {
      batch.push(row);
      characters += charactersOf(row);
      if (batch.length < BATCH_ROWS && characters < BATCH_CHARACTERS) continue;
      yield batch;
      batch = [];
      characters = 0;
    }
  } catch (error) {
    reading.failure = error;
  }
  if (batch.length > 0) yield batch;
}
