/** What a rank computes with: its device and its threads. */
import { availableParallelism } from 'node:os';
import { type DeviceName, NativeError, setThreads, useDevice } from '@sralign/native';
import type { Config } from '../config/schema.js';
import { ConfigError } from '../errors.js';
import { deviceOfRank } from './world.js';

/**
 * Chooses the device, and the number of compute threads: training.threads, OMP_NUM_THREADS, or all that are there. Every rank
 * of a host gets a GPU of its own.
 *
 * @returns the device
 * @throws ConfigError when it cannot be used
 */
export function configureCompute(
  { device: configured, threads }: Config['training'],
  localRank = 0,
): DeviceName {
  // The configuration allows no other form.
  const device = deviceOfRank(configured as DeviceName, localRank);
  chooseDevice(device, 'training.device');
  if (threads !== null) setThreads(checkedThreads(threads));
  return device;
}

/** More threads than this wait for each other: a mistyped number. */
const MOST_THREADS_PER_PROCESSOR = 4;

function checkedThreads(threads: number): number {
  const processors = availableParallelism();
  if (threads <= MOST_THREADS_PER_PROCESSOR * processors) return threads;
  throw new ConfigError(
    `${threads} threads, but this process may use ${processors} ${processors === 1 ? 'processor' : 'processors'}.`,
    { field: 'training.threads', hint: `Set it to ${processors}, or to null for all of them.` },
  );
}

/**
 * Chooses the device of this thread.
 *
 * @param field the setting or option that names it
 * @throws ConfigError when it cannot be used
 */
export function chooseDevice(device: DeviceName, field: string): void {
  try {
    useDevice(device);
  } catch (cause) {
    if (!(cause instanceof NativeError)) throw cause;
    throw new ConfigError(`The device ${device} cannot be used: ${withoutFunction(cause.message)}.`, {
      field,
      cause,
      hint: '`sralign doctor` says what is there.',
    });
  }
}

/** The engine names its function in front of what it says: for programmers. */
const withoutFunction = (message: string): string => message.replace(/^[\w.]+: /, '');
