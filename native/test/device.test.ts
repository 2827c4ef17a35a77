import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  cudaInfo,
  currentDevice,
  type DeviceName,
  NativeError,
  Scope,
  Tensor,
  useDevice,
} from '../lib/index.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const code = (action: () => void): string => {
  try {
    action();
  } catch (error) {
    return error instanceof NativeError ? error.code : `${error}`;
  }
  return 'no error';
};

test('starts on the processor, and choosing what is in use does nothing', () => {
  expect(currentDevice()).toBe('cpu');
  Tensor.zeros([2]);
  useDevice('cpu');
  expect(currentDevice()).toBe('cpu');
});

test('refuses names that are no device', () => {
  for (const name of ['gpu', 'cuda:', 'cuda:-1', 'CUDA', ''])
    expect(() => useDevice(name as DeviceName)).toThrow('useDevice: "device" must be cpu|cuda|cuda:N');
});

test('cannot change while there are tensors, because they live on a device', () => {
  Tensor.zeros([2]);
  expect(code(() => useDevice('cuda'))).toBe('ERR_DEVICE_IN_USE');
  expect(currentDevice()).toBe('cpu');
});

test('a CUDA library that does not open is named, and the processor stays in use', () => {
  const program = `
    import { cudaInfo, currentDevice, useDevice } from '${new URL('../dist/index.js', import.meta.url)}';
    let error;
    try { useDevice('cuda'); } catch (e) { error = { code: e.code, message: e.message }; }
    console.log(JSON.stringify({ error, device: currentDevice(), info: cudaInfo() }));`;
  const { error, device, info } = JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, SRALIGN_CUDA_LIBRARY: '/nowhere/libsralign_cuda.so' },
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      encoding: 'utf8',
    }),
  );
  expect(error.code).toBe('ERR_CUDA');
  expect(error.message).toContain('/nowhere/libsralign_cuda.so');
  expect(device).toBe('cpu');
  expect(info).toMatchObject({ devices: [], reason: expect.stringContaining('/nowhere/') });
});

test('cudaInfo says what is there, or why nothing is', () => {
  const { devices, reason } = cudaInfo();
  expect(devices.length > 0).toBe(reason === '');
});
