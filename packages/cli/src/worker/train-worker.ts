/** The worker thread's side of train-in-worker.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { train, withoutSecrets } from '@sralign/core';
import { errorRecord } from '../report/error-record.js';
import type { TrainReply, TrainRequest } from './train-in-worker.js';

const { config, options } = workerData as TrainRequest;
const port = parentPort!;
const reply = (message: TrainReply): void => port.postMessage(message);

const controller = new AbortController();
port.on('message', () => controller.abort());
try {
  const result = await train(config, {
    ...options,
    signal: controller.signal,
    onEvent: event => reply({ event }),
  });
  reply({ result });
} catch (error) {
  const failure = error instanceof Error ? error : new Error(String(error));
  reply({ failure: { record: errorRecord(failure, withoutSecrets), stack: failure.stack } });
}
port.close();
