/** The communicator of a job of several ranks, on MPI (tensors in host memory) or NCCL (tensors on GPUs). */
import { Call, COMPUTE, COUNT, F32 } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';
import type { Collective, Communicator } from './communicator.js';

/** When an operation ran, in microseconds since the epoch (`performance.timeOrigin` counts from there, too). */
export interface CollectiveSpan {
  name: 'all-gather' | 'reduce-scatter' | 'all-reduce' | 'broadcast' | 'barrier';
  startUs: number;
  endUs: number;
  /** Of the whole operation: the result of an all-gather, the input of the others. */
  bytes: number;
}

export interface WorldOptions {
  rank: number;
  worldSize: number;
  /** Name of the host of every rank. */
  hosts: readonly string[];
  /** The id that rank 0 made (`ncclId`), for a job on GPUs; without it, operations go over MPI (`openMpi`). */
  ncclId?: Uint8Array | undefined;
}

/** The transports of the binding. */
const MPI = 0;
const NCCL = 1;

/**
 * All ranks of a job that is joined: the control channel for `exchange`, MPI or NCCL for tensors. One thread of a
 * process has one, on the device of `useDevice`; another device ends it.
 */
export class WorldCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly hosts: readonly string[];

  /**
   * @throws NativeError (ERR_COMMUNICATION) where MPI is not open or has another rank or world size, and where NCCL
   *   does not start
   */
  constructor({ rank, worldSize, hosts, ncclId }: WorldOptions) {
    const transport = ncclId === undefined ? MPI : NCCL;
    native().useCollectives(transport, ncclId ?? new Uint8Array(), rank, worldSize);
    this.rank = rank;
    this.worldSize = worldSize;
    this.hosts = Object.freeze([...hosts]);
    Object.freeze(this);
  }

  allGather(shard: Tensor, out: Tensor): Collective {
    const call = new Call('allGather', { shard, out });
    const { dtype, size } = call.input('shard', COMPUTE, call.shapeOf('shard'));
    const shape = call.shapeOf('out');
    const place = out.byteOffset + this.rank * shard.bytes;
    const inPlace = shard.memory === out.memory && shard.byteOffset === place;
    (inPlace ? new Call('allGather', { out }) : call).output('out', [dtype], shape);
    this.#checkSize(call, 'out', out, 'shard', size);
    return new Started(native().allGather(shard.id, out.id));
  }

  reduceScatter(input: Tensor, shard: Tensor): Collective {
    const call = new Call('reduceScatter', { input, shard });
    call.input('input', F32, call.shapeOf('input'));
    const { size } = call.output('shard', F32, call.shapeOf('shard'));
    this.#checkSize(call, 'input', input, 'shard', size);
    return new Started(native().reduceScatter(input.id, shard.id));
  }

  allReduce(tensor: Tensor): Collective {
    const call = new Call('allReduce', { tensor });
    call.output('tensor', F32, call.shapeOf('tensor'));
    return new Started(native().allReduce(tensor.id));
  }

  broadcast(tensor: Tensor, root: number): Collective {
    const call = new Call('broadcast', { tensor, root });
    call.output('tensor', COMPUTE, call.shapeOf('tensor'));
    const accepts = (value: number) => COUNT.accepts(value) && value < this.worldSize;
    call.number('root', { text: `a rank, from 0 to ${this.worldSize - 1}`, accepts });
    return new Started(native().broadcast(tensor.id, root));
  }

  barrier(): Collective {
    return new Started(native().barrier());
  }

  exchange<T>(value: T): T[] {
    const answers = native().controlExchange(new TextEncoder().encode(JSON.stringify(value)));
    const decoder = new TextDecoder();
    return answers.map(bytes => JSON.parse(decoder.decode(bytes)) as T);
  }

  #checkSize<Args extends object>(
    call: Call<Args>,
    name: keyof Args & string,
    whole: Tensor,
    part: string,
    partSize: number,
  ): void {
    if (whole.size === partSize * this.worldSize) return;
    const expected = `of ${partSize * this.worldSize} elements (${this.worldSize} ranks, "${part}" has ${partSize})`;
    throw call.error(name, expected, `${whole.size}`);
  }
}

class Started implements Collective {
  #ticket: number | undefined;

  constructor(ticket: number) {
    this.#ticket = ticket;
  }

  wait(): void {
    if (this.#ticket === undefined) return;
    const ticket = this.#ticket;
    this.#ticket = undefined;
    native().collectiveWait(ticket);
  }
}

/** The operations of this thread that were finished since the last call, on the CPU; a GPU does not tell. */
export function takeSpans(): CollectiveSpan[] {
  return native().takeSpans();
}
