/** The worker thread's side of train-in-worker.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { train } from '@sralign/core';
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
  const exitCode = 'exitCode' in failure ? failure.exitCode : undefined;
  reply({ failure: { message: failure.message, stack: failure.stack, exitCode } });
}
port.close();
