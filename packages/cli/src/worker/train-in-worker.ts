/**
 * Runs `train` of @sralign/core in a worker thread. An operation of the engine holds its thread until it is done; here
 * that is not the thread that draws the progress and hears Ctrl-C.
 */
import { Worker } from 'node:worker_threads';
import type { Config, TrainEvent, TrainOptions, TrainResult } from '@sralign/core';
import type { ErrorRecord } from '../report/error-record.js';

/** What the worker is started with. */
export interface TrainRequest {
  readonly config: Config;
  readonly options: Pick<TrainOptions, 'resume' | 'overwrite' | 'configFile' | 'trace'>;
}

/** What the worker says; the result or the failure comes last. */
export type TrainReply =
  | { readonly event: TrainEvent }
  | { readonly result: TrainResult }
  | { readonly failure: { record: ErrorRecord; stack: string | undefined } };

/** Like `train`. @throws Error with the message, the stack and the `record` of the failure in the worker */
export async function trainInWorker(config: Config, options: TrainOptions): Promise<TrainResult> {
  const { signal, onEvent, resume, overwrite, configFile, trace } = options;
  const request: TrainRequest = {
    config,
    options: {
      ...(resume !== undefined && { resume }),
      ...(overwrite !== undefined && { overwrite }),
      ...(configFile !== undefined && { configFile }),
      ...(trace !== undefined && { trace }),
    },
  };
  const worker = new Worker(new URL('./train-worker.js', import.meta.url), { workerData: request });
  const stop = (): void => worker.postMessage('abort');
  signal?.addEventListener('abort', stop);
  try {
    return await new Promise<TrainResult>((resolve, reject) => {
      worker.on('message', (reply: TrainReply) => {
        if ('event' in reply) onEvent?.(reply.event);
        else if ('result' in reply) resolve(reply.result);
        else reject(Object.assign(new Error(reply.failure.record.message), reply.failure));
      });
      worker.on('error', error =>
        reject(isOutOfMemory(error) ? new Error(OUT_OF_MEMORY, { cause: error }) : error),
      );
      worker.on('exit', code => reject(new Error(`The training thread ended with code ${code}.`)));
    });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

const OUT_OF_MEMORY =
  'The training thread has used up the memory that JavaScript may have. ' +
  'Raise it with NODE_OPTIONS=--max-old-space-size=MEGABYTES, or lower data.maxTrainPairs.';

const isOutOfMemory = (error: Error): boolean =>
  (error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY';
