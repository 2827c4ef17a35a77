/**
 * The ranks of a job find each other: from the environment, over MPI or MASTER_ADDR, to the control channel and a
 * communicator. A job has one world per process; its worker threads share it.
 */
import { randomBytes } from 'node:crypto';
import { hostname, networkInterfaces } from 'node:os';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import {
  type Communicator,
  closeMpi,
  control,
  type DeviceName,
  NativeError,
  ncclId,
  openMpi,
  SOLO,
  shareText,
  WorldCommunicator,
} from '@sralign/native';
import { environment, type Ranks } from '../config/env.js';
import { ConfigError } from '../errors.js';

/** Where rank 0 listens. */
interface MeetingPoint {
  /** Names or addresses, separated by commas, tried in turn. */
  readonly address: string;
  readonly port: number;
  /** Known to the ranks of this job alone; empty where the environment says how they meet. */
  readonly token: string;
}

/** Addresses of rank 0 that lead nowhere else. */
const LOOPBACK = new Set(['localhost', '127.0.0.1']);

/** Pods and nodes of one job may start minutes apart. */
const JOIN_TIMEOUT_MS = 300_000;

/** Set in this thread and the workers it starts once the process has joined. */
const JOINED = 'sralign.world.joined';

const isJoined = (): boolean => getEnvironmentData(JOINED) === true;

/**
 * Joins the other ranks of the job, over the control channel; returns when all of them are there. Does nothing in a job
 * of one process, and when this thread or the one that started it has joined. From then on the end of any rank
 * ends all ranks, until `leaveWorld`.
 *
 * @returns the place of this process in the job
 * @throws ConfigError when the environment does not say how to find the others; NativeError (ERR_COMMUNICATION) when
 *   they do not come
 */
export function joinWorld(): Ranks {
  const ranks = environment();
  if (ranks.worldSize === 1 || isJoined()) return ranks;
  const { rank, worldSize } = ranks;
  const meeting = meetingPoint(ranks);
  control.join({ rank, worldSize, host: hostname(), ...meeting, timeoutMs: JOIN_TIMEOUT_MS });
  setEnvironmentData(JOINED, true);
  if (isMainThread) process.once('exit', endedEarly).once('uncaughtExceptionMonitor', threw);
  return ranks;
}

/** An error that nobody catches is the failure of the job. */
function threw(error: Error): void {
  failWorld(error.stack ?? String(error), 1);
}

/** A process that ends without `leaveWorld`, in order or not: the others would only see that it is gone. */
function endedEarly(exitCode: number): void {
  if (exitCode === 0) leaveWorld();
  failWorld(`The process ended before the job was over, with exit code ${exitCode}.`, exitCode || 1);
}

/**
 * The communicator of this thread, for tensors on `device`: MPI for the CPU, NCCL for a GPU, which `useDevice` has
 * chosen. Joins the world if need be. Every rank calls it.
 *
 * @throws ConfigError when the ranks have no MPI for the CPU; NativeError (ERR_COMMUNICATION)
 */
export function worldCommunicator(device: DeviceName): Communicator {
  const ranks = joinWorld();
  const { rank, worldSize } = ranks;
  if (worldSize === 1) return SOLO;
  if (device === 'cpu') {
    openMpiOf(ranks);
    return new WorldCommunicator({ rank, worldSize, hosts: hostsOfRanks() });
  }
  const [idOfRank0] = control.exchange(rank === 0 ? ncclId() : new Uint8Array());
  return new WorldCommunicator({ rank, worldSize, hosts: hostsOfRanks(), ncclId: idOfRank0 });
}

/** The orderly end of a job, which all ranks call; returns when they have. Does nothing where none was joined. */
export function leaveWorld(): void {
  if (!isJoined()) return;
  closeMpi(); // where it is open; the control channel still tells when a rank fails meanwhile
  control.leave();
  setEnvironmentData(JOINED, undefined);
  process.off('exit', endedEarly).off('uncaughtExceptionMonitor', threw);
}

/**
 * Ends all ranks of the job with `exitCode`, after rank 0 has printed the message, this rank and its host: then it does
 * not return. Where no job was joined it does nothing.
 */
export function failWorld(message: string, exitCode: number): void {
  if (isJoined()) control.fail(message, exitCode);
}

/**
 * From now on, until it is disposed, a rank that for 20 s neither computes nor lets its event loop turn nor waits for others
 * ends the job: it is stuck.
 */
export function watchWorld(): Disposable {
  if (!isJoined()) return { [Symbol.dispose]: () => {} };
  control.watch(true);
  const timer = setInterval(() => control.tick(), 1000).unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      control.watch(false);
    },
  };
}

/**
 * The GPU of a rank: `cuda` is number `localRank` of those that CUDA_VISIBLE_DEVICES shows, or the only one. What names
 * its GPU, and the CPU, stay as they are.
 */
export function deviceOfRank(device: DeviceName, localRank: number): DeviceName {
  if (device !== 'cuda' || localRank === 0 || environment().visibleGpus === 1) return device;
  return `cuda:${localRank}`;
}

function meetingPoint(ranks: Ranks): MeetingPoint {
  const { rank, masterAddress, masterPort, underMpi } = ranks;
  if (masterAddress !== undefined && masterPort !== undefined) {
    if (rank === 0) control.listen(masterPort, { onHost: LOOPBACK.has(masterAddress) });
    return { address: masterAddress, port: masterPort, token: '' };
  }
  if (underMpi) {
    openMpiOf(ranks);
    const own = rank === 0 ? openMeetingPoint(ranks) : null;
    return JSON.parse(shareText(JSON.stringify(own))) as MeetingPoint;
  }
  throw new ConfigError(
    `This is rank ${rank} of ${ranks.worldSize}, but nothing says how to find the others.`,
    {
      hint:
        'On processors start the ranks with `sralign launch`, mpirun or `srun --mpi=pmix`; on GPUs MASTER_ADDR and ' +
        'MASTER_PORT (the host of rank 0, and a free port there) will do.',
    },
  );
}

/** Where all ranks are on this host nobody elsewhere can connect. */
function openMeetingPoint({ worldSize, localWorldSize }: Ranks): MeetingPoint {
  const onHost = localWorldSize === worldSize;
  const port = control.listen(0, { onHost });
  return { address: onHost ? '127.0.0.1,::1' : ownAddresses(), port, token: randomBytes(16).toString('hex') };
}

/** Candidates: one of them leads from every other host of the job to this one. */
function ownAddresses(): string {
  const addresses = Object.values(networkInterfaces()).flatMap(interfaces => interfaces ?? []);
  const outer = addresses.filter(({ internal, scopeid }) => !internal && !scopeid); // a link-local one needs a scope
  // Loopback only where there is nothing else: on another host it would lead to a stranger.
  const useful = outer.length === 0 ? addresses.filter(of => of.internal) : outer;
  return useful
    .toSorted((a, b) => a.family.localeCompare(b.family))
    .map(({ address }) => address)
    .join(',');
}

/** Opens MPI, which must see the job as the environment does. */
function openMpiOf({ rank, worldSize, underMpi }: Ranks): void {
  if (!underMpi) {
    throw new ConfigError(
      'Ranks that compute on processors need MPI, and no MPI launcher has started this one.',
      {
        hint: 'Start them with `sralign launch`, mpirun or `srun --mpi=pmix`.',
      },
    );
  }
  const mpi = asConfigError(openMpi);
  if (mpi.worldSize === worldSize && mpi.rank === rank) return;
  throw new ConfigError(
    `For MPI this is rank ${mpi.rank} of ${mpi.worldSize}, but for the environment rank ${rank} of ${worldSize}.`,
    {
      hint:
        mpi.worldSize === 1
          ? 'MPI did not find its launcher: use the mpirun of the MPI that sralign was built with, or `srun --mpi=pmix`.'
          : 'Unset RANK and WORLD_SIZE, or start the ranks with mpirun alone.',
    },
  );
}

function asConfigError<T>(open: () => T): T {
  try {
    return open();
  } catch (cause) {
    if (!(cause instanceof NativeError)) throw cause;
    throw new ConfigError(`MPI cannot be used: ${cause.message}`, { cause });
  }
}

function hostsOfRanks(): string[] {
  const decoder = new TextDecoder();
  return control.exchange(new TextEncoder().encode(hostname())).map(bytes => decoder.decode(bytes));
}
