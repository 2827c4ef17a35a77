import { native } from '../load.js';

/** How a rank finds the others. */
export interface JoinOptions {
  /** Of this process, in [0, worldSize). */
  rank: number;
  worldSize: number;
  /** Name of this process's host, for messages. */
  host: string;
  /** Of rank 0's host: a name or an address, or several separated by commas, which are tried in turn. */
  address: string;
  /** That rank 0 listens on (`control.listen`). */
  port: number;
  /** How long rank 0 waits for the others, and the others try to reach rank 0. */
  timeoutMs: number;
  /** Secret of the job, the same on all ranks: rank 0 refuses who does not know it. Empty where none is given. */
  token?: string;
}

/**
 * The control channel of a job: the ranks find each other over TCP, exchange small byte strings, and end together when
 * one of them fails. One for the process, shared by its worker threads; every function may be called from any of them.
 *
 * The job has failed when a rank reports it (`fail`), when a process ends without `leave`, when one has not been heard
 * from for 10 s, when a watched one (`watch`) makes no progress for 20 s without waiting for others, or when all wait
 * for each other for 60 s, some in `exchange` or `leave` and others in a collective operation. Then one line on stderr says which rank failed and why, and the processes of all ranks end at once: no handlers, no flushing.
 *
 * @throws NativeError (ERR_COMMUNICATION), also where the channel is not joined
 */
export const control = {
  /**
   * Rank 0, before `join`: listens on all interfaces, or, where all ranks are on this host, on 127.0.0.1 alone
   * (`onHost`). Port 0 stands for any free one. Returns the port.
   */
  listen(port = 0, { onHost = false }: { onHost?: boolean } = {}): number {
    if (!isPort(port)) throw new TypeError(`control.listen: "port" must be in [0, 65535], got ${port}`);
    return native().controlListen(port, onHost);
  },

  /**
   * Returns when all ranks are there; blocks until then. The error names the ranks that did not come, or says that rank
   * 0 cannot be reached or has refused this process.
   */
  join({ rank, worldSize, host, address, port, timeoutMs, token = '' }: JoinOptions): void {
    if (!Number.isSafeInteger(worldSize) || worldSize < 1 || worldSize > 2 ** 31 - 1) {
      throw new TypeError(`control.join: "worldSize" must be an integer of at least 1, got ${worldSize}`);
    }
    if (!Number.isSafeInteger(rank) || rank < 0 || rank >= worldSize) {
      throw new TypeError(`control.join: "rank" must be in [0, ${worldSize}), got ${rank}`);
    }
    if (!isPort(port)) throw new TypeError(`control.join: "port" must be in [0, 65535], got ${port}`);
    if (!(timeoutMs >= 0 && Number.isFinite(timeoutMs))) {
      throw new TypeError(
        `control.join: "timeoutMs" must be a finite number of at least 0, got ${timeoutMs}`,
      );
    }
    native().controlJoin(rank, worldSize, host, address, port, timeoutMs, token);
  },

  /**
   * The bytes of every rank, in the order of ranks: views of one buffer. Waits for all ranks, which must call it equally
   * often.
   */
  exchange(bytes: Uint8Array): Uint8Array[] {
    return native().controlExchange(bytes);
  },

  /**
   * Reports why this rank fails (`sralign: rank R on HOST: MESSAGE` on rank 0's stderr; the first report of a job wins)
   * and ends the processes of all ranks. `exitCode` is in [1, 255].
   */
  fail(message: string, exitCode = 1): never {
    if (!Number.isSafeInteger(exitCode) || exitCode < 1 || exitCode > 255) {
      throw new TypeError(`control.fail: "exitCode" must be in [1, 255], got ${exitCode}`);
    }
    return native().controlFail(message, exitCode);
  },

  /**
   * While on, this rank must make progress: call an operation of the engine, compute in one, or `tick`. Off at the
   * start.
   */
  watch(on: boolean): void {
    native().controlWatch(on);
  },

  /** Progress, for work that calls no operation of the engine. Does nothing where the channel is not joined. */
  tick(): void {
    native().controlTick();
  },

  /** The orderly end: returns when all ranks have called it. `join` is possible again then. */
  leave(): void {
    native().controlLeave();
  },
};

function isPort(port: number): boolean {
  return Number.isSafeInteger(port) && port >= 0 && port <= 65_535;
}
