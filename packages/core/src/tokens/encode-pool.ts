/** Threads that encode rows, each with a tokenizer of its own. */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import type { Row } from '../data/rows.js';
import * as errors from '../errors.js';
import { type EncodedRows, type PreparedTask, TextBehindChats } from './row-encoder.js';
import type { Tokenizer } from './tokenizer.js';

/** What a worker starts with. */
export interface WorkerSetup {
  readonly origin: Tokenizer['origin'];
  readonly tokenizerHash: string;
  readonly task: PreparedTask;
}

/** What a worker answers to rows. */
export type Reply = { readonly encoded: EncodedRows } | { readonly failure: SentError };

/** An error on its way to another thread, which knows the classes of errors itself. */
interface SentError {
  readonly name: string;
  readonly message: string;
  readonly details: errors.ErrorDetails;
}

export function sent(error: Error): SentError {
  const { cause: _, ...details } = error instanceof errors.SralignError ? error.details : {};
  return { name: error.constructor.name, message: error.message, details };
}

const CLASSES = {
  ConfigError: errors.ConfigError,
  DataError: errors.DataError,
  ModelError: errors.ModelError,
  CheckpointError: errors.CheckpointError,
  RunError: errors.RunError,
};

function received({ name, message, details }: SentError): Error {
  if (name === TextBehindChats.name) return new TextBehindChats();
  if (!Object.hasOwn(CLASSES, name)) return new Error(message);
  // The message says already where it is.
  return Object.assign(new CLASSES[name as keyof typeof CLASSES]('', details), { message });
}

/** Built, also where the sources are run: a thread of Node.js reads no TypeScript. */
export const WORKER_FILE = createRequire(import.meta.url).resolve('@sralign/core/encode-worker');

interface Waiting {
  readonly resolve: (encoded: EncodedRows) => void;
  readonly reject: (error: Error) => void;
}

/** End it, whatever happens: its threads keep the process alive. */
export class EncodePool implements AsyncDisposable {
  readonly #workers: readonly Worker[];
  readonly #waiting: readonly Waiting[][];
  #next = 0;
  #failure: Error | null = null;

  constructor(threads: number, tokenizer: Tokenizer, task: PreparedTask) {
    const workerData: WorkerSetup = { origin: tokenizer.origin, tokenizerHash: tokenizer.hash, task };
    // The flags of this process are its own affair: --conditions would lead a thread to the sources.
    const options = { workerData, execArgv: [] };
    this.#workers = Array.from({ length: threads }, () => new Worker(WORKER_FILE, options));
    this.#waiting = this.#workers.map(() => []);
    for (const [index, worker] of this.#workers.entries()) {
      worker.on('message', (reply: Reply) => {
        const { resolve, reject } = this.#waiting[index]!.shift()!;
        if ('encoded' in reply) resolve(reply.encoded);
        else reject(received(reply.failure));
      });
      worker.on('error', error => this.#fail(error));
      worker.on('exit', code => this.#fail(new Error(`it ended with code ${code}`)));
    }
  }

  get threads(): number {
    return this.#workers.length;
  }

  /**
   * Gives rows to the threads in turn.
   *
   * @throws as `encodeRows`; RunError when a thread ends by itself
   */
  encode(rows: readonly Row[]): Promise<EncodedRows> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const index = this.#next;
    this.#next = (index + 1) % this.#workers.length;
    return new Promise((resolve, reject) => {
      this.#waiting[index]!.push({ resolve, reject });
      this.#workers[index]!.postMessage(rows);
    });
  }

  #fail(cause: Error): void {
    this.#failure ??= new errors.RunError(`A thread that encodes texts has ended (${cause.message}).`, {
      cause,
      hint: 'Lower training.threads if memory is short.',
    });
    for (const { reject } of this.#waiting.flatMap(waiting => waiting.splice(0))) reject(this.#failure);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map(worker => worker.terminate()));
  }
}
