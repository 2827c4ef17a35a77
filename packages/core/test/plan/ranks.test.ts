/**
 * The planned memory and communication of one rank of several against a step of that rank alone: the other ranks are
 * made up, and what is gathered from them is this rank's shard again. The numbers are nonsense, sizes and order of
 * operations are real.
 */
import { type Collective, type Communicator, cpuInfo, type Tensor, threads } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { balancedRounds } from '../../src/batch/balance.js';
import { packedTokens } from '../../src/batch/pack.js';
import { isRefined } from '../../src/config/method.js';
import { type ModelSpec, parseModelSpec } from '../../src/model/spec.js';
import { type ExampleLengths, lengthsOf, packedShape } from '../../src/plan/lengths.js';
import { type MemoryOptions, type PlanPhase, planMemory } from '../../src/plan/memory.js';
import { planStep } from '../../src/plan/step.js';
import { SHARDINGS, type Sharding } from '../../src/shard/unit.js';
import { examplesOf, tinyConfigs } from '../support.js';
import { augmentation, measureStep, PHASES, pairsOf, type StepCase } from './measured.js';

/** Counts the bytes of what is started. */
class LoneRank implements Communicator {
  readonly rank = 0;
  readonly hosts: readonly string[];
  started = { gatheredBytes: 0, scatteredBytes: 0, reducedBytes: 0 };

  constructor(readonly worldSize: number) {
    this.hosts = Array.from({ length: worldSize }, () => 'localhost');
  }

  allGather(shard: Tensor, out: Tensor): Collective {
    this.started.gatheredBytes += out.bytes;
    for (let rank = 0; rank < this.worldSize; rank++) {
      using place = out.rows((rank * out.size) / this.worldSize, ((rank + 1) * out.size) / this.worldSize);
      // The shard may lie in its place.
      if (rank > 0) place.copyFrom(shard);
      else if (place.byteOffset !== shard.byteOffset || place.memory !== shard.memory) place.copyFrom(shard);
    }
    return DONE;
  }

  reduceScatter(input: Tensor, shard: Tensor): Collective {
    this.started.scatteredBytes += input.bytes;
    using part = input.rows(0, shard.size);
    shard.copyFrom(part);
    return DONE;
  }

  allReduce(tensor: Tensor): Collective {
    this.started.reducedBytes += tensor.bytes;
    return DONE;
  }

  broadcast = (): Collective => DONE;
  barrier = (): Collective => DONE;
  exchange = <T>(value: T): T[] => this.hosts.map(() => value);

  clear(): void {
    this.started = { gatheredBytes: 0, scatteredBytes: 0, reducedBytes: 0 };
  }
}

const DONE: Collective = { wait: () => {} };

interface Case extends StepCase {
  readonly config: string;
  readonly worldSize: number;
}

const [parallel, , grouped, tied] = Object.keys(tinyConfigs) as [string, string, string, string];
const sizes = { hidden_size: 96, intermediate_size: 320, vocab_size: 700, num_hidden_layers: 4 };
const heads = { num_attention_heads: 4, head_dim: 24, num_key_value_heads: 2 };

const cases: Case[] = [
  { config: parallel, worldSize: 2, dtype: 'f32', method: 'sr-dpo', pairs: 4, microbatchPairs: 2 },
  { config: parallel, worldSize: 4, dtype: 'bf16', method: 'dpo', pairs: 16, microbatchPairs: 2 },
  {
    config: grouped,
    worldSize: 3,
    dtype: 'f32',
    method: 'sft',
    pairs: 12,
    microbatchPairs: 4,
    optimizer: 'adamw',
  },
  {
    config: grouped,
    worldSize: 2,
    dtype: 'bf16',
    method: 'sr-dpo',
    pairs: 16,
    microbatchPairs: 8,
    activationCheckpointing: true,
  },
  { config: tied, worldSize: 2, dtype: 'f32', method: 'dpo', pairs: 8, microbatchPairs: 2 },
  { config: tied, worldSize: 4, dtype: 'bf16', method: 'sr-dpo', pairs: 16, microbatchPairs: 4 },
];

/** Lengths of the pairs that rank 0 evaluates when all are evaluated at once. */
function balancedOwn({ pairs, worldSize, method }: Case): ExampleLengths[] {
  const [round] = balancedRounds(examplesOf(method, pairsOf(pairs)), worldSize, pairs, example =>
    packedTokens(example, 'plain'),
  );
  return round![0]!.map(lengthsOf);
}

/** What is planned for the microbatches of rank 0. */
function optionsOf(spec: ModelSpec, testCase: Case, sharding: Sharding): MemoryOptions[] {
  const { method, pairs, microbatchPairs = pairs, worldSize } = testCase;
  const rounds = balancedRounds(examplesOf(method, pairsOf(pairs)), worldSize, microbatchPairs, example =>
    packedTokens(example, 'plain'),
  );
  return rounds.map(round => {
    const lengths = round[0]!.map(lengthsOf);
    return {
      dtype: testCase.dtype,
      optimizer: testCase.optimizer ?? 'rmsprop',
      sharding,
      worldSize,
      activationCheckpointing: testCase.activationCheckpointing === true,
      microbatches: rounds.length,
      plain: packedShape(lengths, 'plain', 0, spec.window),
      augmented: isRefined(method)
        ? packedShape(lengths, 'augmented', augmentation.length, spec.window)
        : null,
      evaluation: packedShape(
        balancedOwn(testCase),
        isRefined(method) ? 'augmented' : 'plain',
        augmentation.length,
        spec.window,
      ),
      device: 'cpu',
      threads: threads(),
      nativeBf16: cpuInfo().nativeBf16,
    };
  });
}

describe.each(SHARDINGS)('a rank with sharding %s is planned right for', sharding => {
  it.each(
    cases.map(testCase => {
      const { config, worldSize, dtype, method, pairs, microbatchPairs } = testCase;
      return [
        `${config}, ${worldSize} ranks, ${dtype}, ${method}, ${pairs} pairs by ${microbatchPairs}`,
        testCase,
      ] as const;
    }),
  )('%s', async (_name, testCase) => {
    const { worldSize } = testCase;
    const own = testCase.config === parallel ? {} : heads;
    const spec = parseModelSpec({ ...tinyConfigs[testCase.config], ...sizes, ...own }, 'config.json');
    const options = optionsOf(spec, testCase, sharding);
    const communicator = new LoneRank(worldSize);
    let started = communicator.started;
    const { phases } = await measureStep(spec, testCase, communicator, sharding, {
      before: () => communicator.clear(),
      after: () => {
        started = { ...communicator.started };
      },
    });

    const planned: Partial<Record<PlanPhase, number>> = {};
    for (const plan of options.map(each => planMemory(spec, each))) {
      const { workspace, reductionScratch } = plan.kinds;
      for (const phase of PHASES) {
        if (plan.phases[phase] === undefined) continue;
        planned[phase] = Math.max(planned[phase] ?? 0, plan.phases[phase] - workspace - reductionScratch);
      }
    }
    const ceilings = { flopsPerSecond: 1, efficiency: 1, memoryBytesPerSecond: 1, linkBytesPerSecond: 1 };
    const { communication } = planStep(spec, options[0]!, ceilings);
    const sent = (worldSize - 1) / worldSize;
    // The norm of the gradient is gathered too: 4 bytes of every rank.
    const norms = sharding === 'none' ? 0 : 4 * worldSize;
    expect(communication.allGatherBytes).toBeCloseTo((started.gatheredBytes - norms) * sent, 3);
    expect(communication.reduceScatterBytes).toBeCloseTo(started.scatteredBytes * sent, 3);
    expect(communication.allReduceBytes).toBeCloseTo(2 * started.reducedBytes * sent, 3);
    for (const phase of PHASES) {
      if (phases[phase] === undefined) continue;
      expect(planned[phase]! / phases[phase]).toBeGreaterThan(0.99);
      expect(planned[phase]! / phases[phase]).toBeLessThan(1.01);
    }
  });
});
