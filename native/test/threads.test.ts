import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { memory, setThreads, Tensor, threads } from '../lib/index.js';

const addon = fileURLToPath(new URL('../build/Release/sralign_native.node', import.meta.url));

/** Multiplies ones by ones many times; leaves its tensors to the end of the thread. */
const work = `
  const { parentPort, workerData } = require('node:worker_threads');
  const native = require(workerData.addon);
  native.setErrorClass(class extends Error { constructor(code, message) { super(message); this.code = code; } });
  const ones = n => {
    const id = native.create(0, 2, n, n);
    native.write(id, 0, new Uint8Array(new Float32Array(n * n).fill(1).buffer), -1);
    return id;
  };
  const [x, weight] = [ones(workerData.size), ones(workerData.size)];
  const out = native.create(0, 2, workerData.size, workerData.size);
  let right = true;
  for (let i = 0; i < 20; i++) {
    native.linear(x, weight, 0, out);
    const values = new Float32Array(workerData.size ** 2);
    native.read(out, new Uint8Array(values.buffer));
    right &&= values.every(value => value === workerData.size);
  }
  let code;
  try { native.release(x); native.zero(x); } catch (error) { code = error.code; }
  parentPort.postMessage({ right, code, live: native.memory().liveTensors });
  if (workerData.endless) for (;;) native.linear(weight, weight, 0, out);
`;

function start(size: number, endless = false) {
  const worker = new Worker(work, { eval: true, workerData: { addon, size, endless } });
  const message = new Promise<unknown>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  const exit = new Promise<number>(resolve => worker.once('exit', resolve));
  return { worker, message, exit };
}

test('each worker thread has an engine of its own, freed with it', async () => {
  const before = memory();
  const workers = [17, 64, 33].map(size => start(size));
  for (const { message, exit } of workers) {
    expect(await message).toEqual({ right: true, code: 'ERR_TENSOR_DISPOSED', live: 2 });
    expect(await exit).toBe(0);
  }
  expect(memory()).toEqual(before);
});

test('a worker ended in the middle of its work does no harm', async () => {
  const { worker, message, exit } = start(48, true);
  await message;
  await worker.terminate();
  await exit;
  const tensor = Tensor.from([1, 2], [2]);
  expect([...tensor.toFloat32Array()]).toEqual([1, 2]);
  tensor.dispose();
});

test('the number of threads can be read and set', () => {
  const before = threads();
  setThreads(3);
  expect(threads()).toBe(3);
  setThreads(before);
  for (const wrong of [0, -1, 1.5, Number.NaN, 1e6, '2']) {
    expect(() => setThreads(wrong as number)).toThrow(
      'setThreads: "count" must be an integer from 1 to 1024',
    );
  }
});
