import { fileURLToPath } from 'node:url';
import { native } from './load.js';

/** `cpu`, `cuda` (the first GPU) or `cuda:N`. CUDA_VISIBLE_DEVICES says which GPUs there are, and in which order. */
export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}`;

const PATTERN = /^(?:cpu|cuda(?::(\d+))?)$/;

let current: DeviceName = 'cpu';

/**
 * Chooses where the tensors of this thread live and its operations run; the start is `cpu`. On a GPU an operation is
 * queued and the call returns; reading a tensor waits for what was queued before.
 *
 * @throws NativeError ERR_DEVICE_IN_USE while there are tensors; ERR_CUDA where the CUDA library does not open or there
 *   is no such GPU
 */
export function useDevice(device: DeviceName): void {
  const match = PATTERN.exec(device);
  if (match === null) throw new TypeError(`useDevice: "device" must be cpu|cuda|cuda:N, got ${device}`);
  if (device === current) return;
  native().useDevice(device === 'cpu' ? '' : cudaLibrary(), Number(match[1] ?? 0));
  current = device;
}

/** The device that `useDevice` chose. */
export function currentDevice(): DeviceName {
  return current;
}

/** Waits until everything that was queued on the device is done. */
export function synchronize(): void {
  native().synchronize();
}

export interface CudaInfo {
  /** 1000 major + 10 minor of the CUDA version the driver supports; 0 without a driver. */
  driverVersion: number;
  /** Of the runtime the library was built with; 0 where it does not load. */
  runtimeVersion: number;
  devices: {
    name: string;
    /** Such as `9.0`. */
    computeCapability: string;
    multiprocessors: number;
    totalBytes: number;
    freeBytes: number;
  }[];
  /** Why there are no devices; empty where there are. */
  reason: string;
}

/** What the CUDA library finds on this machine. */
export function cudaInfo(): CudaInfo {
  return native().cudaInfo(cudaLibrary());
}

/** SRALIGN_CUDA_LIBRARY in the environment names another build of the library. */
function cudaLibrary(): string {
  const built = fileURLToPath(new URL('../build/Release/libsralign_cuda.so', import.meta.url));
  return process.env.SRALIGN_CUDA_LIBRARY || built;
}
