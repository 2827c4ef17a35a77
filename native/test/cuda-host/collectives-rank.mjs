// One rank of a job on NCCL (collectives.ts starts it). It prints JSON, a line each: the id of the job (rank 0), then what
// came out of every collective operation beside computation on its tensors, or the errors it ran into.
//
//   collectives-rank.mjs PROGRAM RANK SIZE [ID]
import { readSync } from 'node:fs';
import * as native from '../../dist/index.js';

const { Tensor } = native;
const [program, ...rest] = process.argv.slice(2);
const [rank, size] = rest.map(Number);

const print = line => process.stdout.write(`${JSON.stringify(line)}\n`);

/** Small whole numbers, so that every sum is exact in f32 and twice a number in bf16. As in collectives.ts. */
const values = (count, seed) =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7 + seed * 13) % 31) - 15);

/** Twice `values`. The factor is a kernel: before it ran, the compute stream has other numbers there. */
function doubled(shape, seed, dtype = 'f32') {
  const count = shape.reduce((a, b) => a * b);
  const tensor = Tensor.from(values(count, seed), shape);
  native.scale({ x: tensor, factor: 2 });
  if (dtype === 'f32') return tensor;
  const rounded = Tensor.empty(shape, dtype);
  native.cast({ x: tensor, out: rounded });
  return rounded;
}

/** What the compute stream finds there when it comes to this place. */
function copyOf(tensor) {
  const copy = Tensor.empty(tensor.shape, tensor.dtype);
  copy.copyFrom(tensor);
  return copy;
}

/** Work of the compute stream. */
function compute() {
  const square = Tensor.from(values(48 * 48, 3), [48, 48]);
  const out = Tensor.empty([48, 48]);
  native.linear({ x: square, weight: square, out });
  return out;
}

function join() {
  native.useDevice('cuda');
  const id = rank === 0 ? native.ncclId() : Buffer.from(rest[2], 'hex');
  if (rank === 0) print({ id: Buffer.from(id).toString('hex') });
  return new native.WorldCommunicator({ rank, worldSize: size, hosts: [], ncclId: id });
}

/** Name -> a function that returns the tensors of the result. */
const operations = world => ({
  gather() {
    const out = Tensor.empty([size, 100]);
    const gathered = world.allGather(doubled([100], rank), out);
    const product = compute();
    gathered.wait();
    native.scale({ x: out, factor: 3 });
    return [out, product];
  },
  // More than the ranks exchange at a time.
  gatherMuch() {
    const out = Tensor.empty([size * 50_000], 'bf16');
    world.allGather(doubled([50_000], rank, 'bf16'), out).wait();
    return [copyOf(out)];
  },
  gatherInPlace() {
    const out = Tensor.empty([size, 77]);
    const own = out.rows(rank, rank + 1);
    own.copyFrom(doubled([1, 77], rank));
    world.allGather(own, out).wait();
    return [copyOf(out)];
  },
  reduceScatter() {
    const input = doubled([size, 20_000], rank);
    const shard = Tensor.empty([20_000]);
    const reduced = world.reduceScatter(input, shard);
    const product = compute();
    reduced.wait();
    input.zero(); // nobody reads it any more
    native.scale({ x: shard, factor: 3 });
    return [shard, product];
  },
  allReduce() {
    const sum = doubled([33], rank);
    world.allReduce(sum).wait();
    native.scale({ x: sum, factor: 3 });
    return [sum];
  },
  broadcast() {
    const tensor = doubled([333], rank);
    world.broadcast(tensor, size - 1).wait();
    native.scale({ x: tensor, factor: 3 });
    return [tensor];
  },
  // Weights are fetched for the next layer and gradients sent of the last one while a layer is computed.
  layers() {
    const fetch = layer => {
      const out = Tensor.empty([size, 64]);
      return { out, gathered: world.allGather(doubled([64], rank + 10 * layer), out) };
    };
    const results = [];
    let reduced;
    let next = fetch(0);
    for (let layer = 0; layer < 4; layer++) {
      const { out, gathered } = next;
      if (layer < 3) next = fetch(layer + 1);
      gathered.wait();
      const gradient = copyOf(out);
      native.scale({ x: gradient, factor: layer + 1 });
      out.dispose(); // right behind its last use
      compute();
      reduced?.wait();
      const shard = Tensor.empty([64]);
      reduced = world.reduceScatter(gradient, shard);
      gradient.dispose(); // before its operation is over
      results.push(shard);
    }
    reduced.wait();
    return results.map(copyOf);
  },
  waitsInAnyOrder() {
    const outs = [0, 1, 2].map(() => Tensor.empty([size, 10]));
    const gathered = outs.map((out, i) => world.allGather(doubled([10], rank + i), out));
    gathered[0].wait();
    const first = copyOf(outs[0]);
    gathered[2].wait();
    const others = [copyOf(outs[2]), copyOf(outs[1])];
    gathered[1].wait();
    return [first, ...others];
  },
  barrier() {
    world.barrier().wait();
    return [];
  },
});

const programs = {
  /** Every operation; then rank 0 waits for a sum whose other ranks do not touch their GPU. */
  all() {
    const world = join();
    for (const [name, operation] of Object.entries(operations(world))) {
      const tensors = operation().map(tensor =>
        Buffer.from(tensor.toFloat32Array().buffer).toString('base64'),
      );
      print({ name, tensors });
    }
    const sum = doubled([5], rank);
    world.allReduce(sum).wait();
    if (rank > 0) readSync(0, Buffer.alloc(1)); // until the test says that rank 0 has its sum
    print({ name: 'unattended', tensors: [Buffer.from(sum.toFloat32Array().buffer).toString('base64')] });
  },
  /** Sums of different lengths: the GPU stops there, and what was queued behind cannot be waited for. */
  mismatch() {
    const world = join();
    const [first, second] = [4 + rank, 5].map(count => world.allReduce(Tensor.zeros([count])));
    first.wait();
    for (const action of [native.synchronize, () => second.wait()]) printError(action);
  },
  /** A rank that does not exist. */
  noSuchRank() {
    native.useDevice('cuda');
    const options = { rank: 2, worldSize: 2, hosts: [], ncclId: native.ncclId() };
    printError(() => new native.WorldCommunicator(options));
  },
};

function printError(action) {
  try {
    action();
    print({ error: 'none' });
  } catch (error) {
    print({ error: error.code, message: error.message });
  }
}

programs[program]();
