/** A thread that encodes rows: the other end of encode-pool.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Row } from '../data/rows.js';
import { ModelError } from '../errors.js';
import { type Reply, sent, type WorkerSetup } from './encode-pool.js';
import { encodeRows } from './row-encoder.js';
import { loadTokenizer, type Tokenizer } from './tokenizer.js';

const { origin, tokenizerHash, task } = workerData as WorkerSetup;
const port = parentPort!;

const loading = load();
// Whoever sends rows is told.
loading.catch(() => {});

port.on('message', async (rows: readonly Row[]) => {
  try {
    const encoded = encodeRows(rows, task, await loading);
    const { facts, tokens, trained, digests } = encoded.chunk;
    const parts = [facts, tokens, trained, digests].map(part => part.buffer as ArrayBuffer);
    port.postMessage({ encoded } satisfies Reply, parts);
  } catch (error) {
    port.postMessage({ failure: sent(error as Error) } satisfies Reply);
  }
});

async function load(): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(origin.folder, origin.options);
  if (tokenizer.hash === tokenizerHash) return tokenizer;
  throw new ModelError('The files of the tokenizer changed while they were read.', { file: origin.folder });
}
