/** Several ranks in one process: what they start together, they finish together. */
import type { Collective, Communicator } from '@sralign/native';
import { Tensor } from '@sralign/native';

/** Communicators whose operations happen at `wait`, when every rank has started them. */
export function fakeRanks(worldSize: number): Communicator[] {
  const shards = Array.from({ length: worldSize }, () => [] as Float32Array[]);
  const started = Array.from({ length: worldSize }, () => 0);
  /** The n-th operation of a rank: what it brings, and what it makes of what all bring. */
  const start = (rank: number, input: Tensor, finish: (all: Float32Array[]) => void): Collective => {
    const operation = started[rank]!++;
    shards[rank]![operation] = input.toFloat32Array();
    let done = false;
    return {
      wait() {
        if (done) return;
        done = true;
        const all = shards.map(own => own[operation]);
        if (all.includes(undefined)) throw new Error(`Rank ${rank} would wait for ever.`);
        finish(all as Float32Array[]);
      },
    };
  };
  const sum = (all: Float32Array[]): Float32Array => all.reduce((a, b) => a.map((value, i) => value + b[i]!));
  const put = (tensor: Tensor, values: Float32Array): void => {
    using source = Tensor.from(values, tensor.shape, tensor.dtype);
    tensor.copyFrom(source);
  };
  return Array.from({ length: worldSize }, (_, rank) => ({
    rank,
    worldSize,
    hosts: Array.from({ length: worldSize }, () => 'host'),
    allGather: (shard, out) =>
      start(rank, shard, all => put(out, Float32Array.from(all.flatMap(values => [...values])))),
    reduceScatter: (input, shard) =>
      start(rank, input, all => put(shard, sum(all).slice(rank * shard.size, (rank + 1) * shard.size))),
    allReduce: tensor => start(rank, tensor, all => put(tensor, sum(all))),
    broadcast: (tensor, root) => start(rank, tensor, all => put(tensor, all[root]!)),
    barrier: () => ({ wait: () => {} }),
    exchange: () => {
      throw new Error('Not here.');
    },
  }));
}
