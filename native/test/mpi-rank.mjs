// One rank of the tests of MPI (mpi.test.ts): runs every check of a suite and prints, as one line of JSON, the name of
// each with "ok" or what went wrong: mpirun -np N node mpi-rank.mjs SUITE
// `mpi-rank.mjs abandon` prints only that it ends.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import {
  closeMpi,
  control,
  memory,
  NativeError,
  openMpi,
  Scope,
  shareText,
  Tensor,
  takeSpans,
  WorldCommunicator,
} from '../dist/index.js';

const { rank, worldSize } = openMpi();
const hosts = Array.from({ length: worldSize }, () => 'localhost');
const world = new WorldCommunicator({ rank, worldSize, hosts });
const ranks = hosts.map((_, of) => of);

/**
 * Numbers of f32 that differ per rank and round in sums. The period is no multiple of any size of a message. In some
 * elements ranks 0 and 1 cancel, so that the order of a sum with a third shows even when it is in double.
 */
const table = Float32Array.from({ length: 1009 }, (_, i) => Math.sin(i * 1.3) * 1e5 ** ((i % 7) - 3));
for (let i = 0; i < 100; i++) table[i + 131] = -table[i];
const value = (of, i) => table[(i + of * 131) % table.length];
function values(of, count) {
  const result = new Float32Array(count);
  for (let i = 0; i < count; i++) result[i] = value(of, i);
  return result;
}
/** What the sum over ranks must be to the bit: added up in double, in the order of ranks. */
function sums(count, shift = 0) {
  const result = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (const of of ranks) sum += value(of + shift, i);
    result[i] = sum;
  }
  return result;
}
const SIZES = [1, 2, 3, 5, 127, 1000, 65_537];
/** Elements over all ranks that make a reduction work in several pieces. */
const SEVERAL_PIECES = 1_100_003;

function same(tensor, expected) {
  const actual = tensor.toFloat32Array();
  assert.equal(actual.length, expected.length);
  const wrong = actual.findIndex((number, i) => !Object.is(number, expected[i]));
  assert.equal(wrong, -1, `element ${wrong} is ${actual[wrong]}, not ${expected[wrong]}`);
}

function gathered(count) {
  const result = new Float32Array(worldSize * count);
  for (const of of ranks) result.set(values(of, count), of * count);
  return result;
}

const collectives = {
  'all-gather in f32 and bf16'() {
    for (const count of SIZES) {
      for (const dtype of ['f32', 'bf16']) {
        const out = Tensor.zeros([worldSize, count], dtype);
        world.allGather(Tensor.from(values(rank, count), [count], dtype), out).wait();
        same(out, Tensor.from(gathered(count), [worldSize * count], dtype).toFloat32Array());
      }
    }
  },

  'all-gather of a shard in its place'() {
    for (const count of SIZES) {
      const out = Tensor.zeros([worldSize * count]);
      const shard = out.rows(rank * count, (rank + 1) * count);
      shard.copyFrom(Tensor.from(values(rank, count), [count]));
      world.allGather(shard, out).wait();
      same(out, gathered(count));
    }
  },

  'reduce-scatter, to the bit and every time'() {
    for (const count of [...SIZES, Math.ceil(SEVERAL_PIECES / worldSize)]) {
      const input = Tensor.from(values(rank, worldSize * count), [worldSize, count]);
      const expected = sums(worldSize * count).slice(rank * count, (rank + 1) * count);
      for (let repetition = 0; repetition < 3; repetition++) {
        const shard = Tensor.zeros([count]);
        world.reduceScatter(input, shard).wait();
        same(shard, expected);
      }
      same(input, values(rank, worldSize * count));
    }
  },

  'all-reduce, the same bits on every rank'() {
    for (const count of [...SIZES, SEVERAL_PIECES]) {
      const tensor = Tensor.from(values(rank, count), [count]);
      world.allReduce(tensor).wait();
      same(tensor, sums(count));
    }
  },

  'broadcast from every rank'() {
    for (const root of ranks) {
      const tensor = Tensor.from(values(rank, 70_001), [70_001]);
      world.broadcast(tensor, root).wait();
      same(tensor, values(root, 70_001));
    }
  },

  'many operations at once, waited for in any order'() {
    const started = Array.from({ length: 40 }, (_, i) => {
      const count = 1 + ((i * 7919) % 30_011);
      const shard = Tensor.from(values(rank, count), [count]);
      const out = Tensor.zeros([worldSize * count]);
      const tensor = Tensor.from(values(rank, count), [count]);
      const operations = [world.allGather(shard, out), world.allReduce(tensor), world.barrier()];
      return { count, out, tensor, operations };
    });
    for (const { count, out, tensor, operations } of started.reverse()) {
      for (const operation of operations.reverse()) operation.wait();
      for (const operation of operations) operation.wait();
      same(out, gathered(count));
      same(tensor, sums(count));
    }
  },

  'large reductions at once do not mix'() {
    const tensors = [0, 1, 2].map(shift =>
      Tensor.from(values(rank + shift, SEVERAL_PIECES), [SEVERAL_PIECES]),
    );
    const operations = tensors.map(tensor => world.allReduce(tensor));
    for (const operation of operations) operation.wait();
    tensors.forEach((tensor, shift) => {
      same(tensor, sums(SEVERAL_PIECES, shift));
    });
  },

  'tensors that are disposed before the wait keep their memory'() {
    const before = memory();
    const count = 300_000;
    const out = Tensor.zeros([worldSize * count]);
    const shard = Tensor.from(values(rank, count), [count]);
    const operation = world.allGather(shard, out);
    const view = out.rows(0, worldSize * count);
    shard.dispose();
    out.dispose();
    // Would get the memory of the shard and be sent in its place.
    const other = Tensor.from(new Float32Array(count).fill(-1), [count]);
    assert.equal(memory().liveBytes - before.liveBytes, 4 * count * (worldSize + 2));
    operation.wait();
    same(view, gathered(count));
    view.dispose();
    other.dispose();
    assert.deepEqual([memory().liveTensors, memory().liveBytes], [before.liveTensors, before.liveBytes]);
  },

  'tells when operations ran'() {
    takeSpans();
    const startUs = (performance.timeOrigin + performance.now()) * 1000;
    world.allGather(Tensor.zeros([10], 'bf16'), Tensor.zeros([10 * worldSize], 'bf16')).wait();
    world.allReduce(Tensor.zeros([3])).wait();
    const spans = takeSpans();
    assert.deepEqual(
      spans.map(({ name, bytes }) => [name, bytes]),
      [
        ['all-gather', 20 * worldSize],
        ['all-reduce', 12],
      ],
    );
    for (const span of spans) {
      // The two clocks may drift apart since the process started.
      assert.ok(span.startUs > startUs - 1e6 && span.startUs <= span.endUs && span.endUs < startUs + 60e6);
    }
    assert.deepEqual(takeSpans(), []);
  },

  'memory of reductions is bounded and told'() {
    const { communicationBytes } = memory();
    assert.ok(communicationBytes > 0 && communicationBytes <= 8 * 2 ** 20, `${communicationBytes}`);
  },

  'refuses wrong tensors by name'() {
    const [part, whole] = [Tensor.zeros([3]), Tensor.zeros([3 * worldSize])];
    const refuse = (call, ...texts) => {
      assert.throws(call, error => {
        assert.ok(error instanceof TypeError, String(error));
        for (const text of texts) assert.ok(error.message.includes(text), `${error.message} has no ${text}`);
        return true;
      });
    };
    refuse(() => world.allGather(part, Tensor.zeros([3 * worldSize + 1])), 'allGather', '"out"', 'elements');
    refuse(() => world.allGather(part, Tensor.zeros([3 * worldSize], 'bf16')), '"out"', 'f32');
    refuse(
      () => world.allGather(Tensor.from(Int32Array.of(1), [1]), Tensor.zeros([1])),
      '"shard"',
      'f32|bf16',
    );
    const shared = Tensor.zeros([3 * worldSize + 3]);
    refuse(
      () => world.allGather(shared.rows(3 * rank + 1, 3 * rank + 4), shared.rows(0, 3 * worldSize)),
      'share memory',
    );
    refuse(() => world.reduceScatter(Tensor.zeros([3 * worldSize + 1]), part), 'reduceScatter', '"input"');
    refuse(() => world.reduceScatter(Tensor.zeros([3 * worldSize], 'bf16'), part), '"input"', 'f32');
    refuse(() => world.reduceScatter(whole, whole.rows(0, 3)), 'share memory');
    refuse(() => world.allReduce(Tensor.zeros([3], 'bf16')), 'allReduce', '"tensor"', 'f32');
    for (const root of [-1, worldSize, 0.5]) refuse(() => world.broadcast(part, root), 'broadcast', '"root"');
    part.dispose();
    assert.throws(() => world.allReduce(part), { code: 'ERR_TENSOR_DISPOSED' });
  },

  'shares a text of rank 0'() {
    for (const text of ['Grüße', '', 'x'.repeat(100_000)])
      assert.equal(shareText(rank === 0 ? text : '-'), text);
  },

  'opening it again gives the same answer'() {
    assert.deepEqual(openMpi(), { rank, worldSize });
  },

  'refuses a place in the job that is not the one of MPI'() {
    const refuse = (place, text) => {
      assert.throws(
        () => new WorldCommunicator({ rank, worldSize, hosts, ...place }),
        error => {
          assert.equal(error.code, 'ERR_COMMUNICATION');
          assert.ok(error.message.includes(`for MPI this is rank ${rank} of ${worldSize}, not rank ${text}`));
          return true;
        },
      );
    };
    refuse({ worldSize: worldSize + 1 }, `${rank} of ${worldSize + 1}`);
    refuse({ rank: rank + 1 }, `${rank + 1} of ${worldSize}`);
  },

  'nothing works once it is closed'() {
    closeMpi();
    closeMpi();
    const refused = { code: 'ERR_COMMUNICATION', message: /MPI/ };
    assert.throws(() => openMpi(), { ...refused, message: /cannot start a second time/ });
    assert.throws(() => shareText('a'), refused);
    assert.throws(() => new WorldCommunicator({ rank, worldSize, hosts }).barrier(), refused);
  },
};

/** The thread of a worker trains while the main thread, which joined the job, listens. */
const threads = {
  async 'a worker thread uses it, and may end while an operation is under way'() {
    const worker = new Worker(new URL(import.meta.url), { argv: ['worker'] });
    const messages = [];
    worker.on('message', message => messages.push(message));
    const [code] = await once(worker, 'exit');
    assert.deepEqual([code, messages], [0, [ranks.reduce((sum, of) => sum + of + 1, 0)]]);
    const tensor = Tensor.from([rank], [1]);
    world.allReduce(tensor).wait();
    same(tensor, [(worldSize * (worldSize - 1)) / 2]);
  },
};

function workInThread() {
  const tensor = Tensor.from([rank + 1], [1]);
  world.allReduce(tensor).wait();
  parentPort.postMessage(tensor.toFloat32Array()[0]);
  world.allGather(Tensor.zeros([300_000]), Tensor.zeros([worldSize * 300_000]));
}

/** Rank 0 gives an operation two times `count` elements of a shard, rank 1 that many. */
const disagreements = {
  'reduce-scatter': count => [Tensor.zeros([worldSize * count]), Tensor.zeros([count])],
  'all-gather': count => [Tensor.zeros([count]), Tensor.zeros([worldSize * count])],
};

const disagreement = {
  async 'a failed operation throws what MPI says, and so do all others'() {
    const name = process.argv[3];
    const tensors = disagreements[name](rank === 0 ? 40 : 20);
    const start = (...of) => (name === 'all-gather' ? world.allGather(...of) : world.reduceScatter(...of));
    const operation = start(...tensors);
    if (rank === 0) return await setTimeout(120_000); // mpirun ends it
    // Never complete: rank 0 does not come to them.
    const others = [
      world.barrier(),
      world.allReduce(Tensor.zeros([8])),
      world.broadcast(Tensor.zeros([8]), 0),
    ];
    const refused = { code: 'ERR_COMMUNICATION', message: /truncated/ };
    assert.throws(
      () => operation.wait(),
      error => {
        assert.ok(error instanceof NativeError);
        assert.equal(error.code, 'ERR_COMMUNICATION');
        assert.match(error.message, new RegExp(`${name} failed: .*truncated`));
        return true;
      },
    );
    operation.wait();
    const { liveBytes } = memory();
    for (const tensor of tensors) tensor.dispose();
    assert.equal(memory().liveBytes, liveBytes, 'memory that MPI may still write to was given back');
    for (const other of others) assert.throws(() => other.wait(), refused);
    assert.throws(() => world.barrier().wait(), refused);
  },
};

/** Rank 0 comes late to the others; they tell how much of a core they use meanwhile. */
const waiting = {
  'waiting leaves the cores to others'() {
    world.barrier().wait();
    const start = { ms: performance.now(), cpu: process.cpuUsage() };
    if (rank === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000);
    world.barrier().wait();
    const { user, system } = process.cpuUsage(start.cpu);
    const passedMs = performance.now() - start.ms;
    assert.ok(passedMs > 2500, `the barrier was done after ${passedMs} ms, before rank 0 came to it`);
    const share = (user + system) / 1000 / passedMs;
    assert.ok(share < 0.4, `${(100 * share).toFixed(1)} % of a core`);
  },
};

/** Rank 0 comes to a barrier later than a rank may make no progress. */
const late = {
  async 'a rank that waits in an operation is not stuck'() {
    const port = Number(shareText(rank === 0 ? String(control.listen()) : ''));
    control.join({ rank, worldSize, host: `host${rank}`, address: '127.0.0.1', port, timeoutMs: 60_000 });
    control.watch(true);
    for (let second = 0; rank === 0 && second < 26; second++) {
      await setTimeout(1000);
      control.tick();
    }
    world.barrier().wait();
    control.watch(false);
    control.leave();
  },
};

/** Rank 1 ends with an operation under way that rank 0 does not come to. */
async function abandon() {
  if (rank === 0) return await setTimeout(120_000);
  world.allGather(Tensor.zeros([300_000]), Tensor.zeros([worldSize * 300_000]));
  await setTimeout(200);
  process.stdout.write('rank 1 ends\n');
}

async function run(suite) {
  const results = {};
  for (const [name, check] of Object.entries(suite)) {
    const scope = new Scope();
    try {
      await check();
      results[name] = 'ok';
    } catch (error) {
      results[name] = error.stack;
    }
    scope.dispose();
    if (results[name] !== 'ok') break;
  }
  process.stdout.write(`${JSON.stringify({ rank, results })}\n`);
  // The ranks are out of step after a failure: mpirun ends them all when one ends without MPI_Finalize.
  if (Object.values(results).every(result => result === 'ok')) closeMpi();
  else process.exit(1);
}

if (!isMainThread) workInThread();
else if (process.argv[2] === 'abandon') await abandon();
else await run({ collectives, threads, disagreement, waiting, late }[process.argv[2]]);
