/** `sralign plan CONFIG`: whether a run fits into memory, and how long a step will take, before it is started. */
import { dirname } from 'node:path';
import type { Alternative, RunPlan } from '@sralign/core';
import { Command, InvalidArgumentError } from 'commander';
import {
  chatTemplateSetting,
  examples,
  numberBetween,
  positiveNumber,
  setOption,
  settingsOf,
  wholeNumber,
} from '../options.js';
import { memorySection } from '../report/memory.js';
import { byteSize, duration, listing, number, table } from '../report/table.js';
import { withProgress } from '../report/with-progress.js';

interface PlanOptions {
  gpus: number;
  memory: number;
  tflops?: number;
  memoryGbPerS?: number;
  linkGbPerS?: number;
  efficiency?: number;
  set: string[];
  chatTemplate?: string;
  json?: boolean;
}

export function planCommand(): Command {
  return new Command('plan')
    .summary('say what a run takes of memory and time, without running it')
    .description(
      'Prints the memory of a rank by kind, the bytes it communicates and the time of a step, and which ways to share ' +
        'and which microbatches fit. Reads config.json and, where it is there, the data; no weights. What the hardware ' +
        'reaches is measured here unless it is given. Exit code 0 whether the run fits or not.',
    )
    .argument(
      '<config>',
      'YAML file of a training run; config.json beside it stands in for a model that is not here',
    )
    .option('--gpus <n>', 'ranks: GPUs, or processes on CPUs', wholeNumber(1), 1)
    .requiredOption(
      '--memory <size>',
      'memory of a rank, as in 80GiB, 24G (both 1024^3), 24GB (10^9)',
      byteCount,
    )
    .option('--tflops <n>', 'matrix products of a rank, TFLOP/s in training.dtype', positiveNumber)
    .option('--memory-gb-per-s <n>', 'memory bandwidth of a rank, GB/s', positiveNumber)
    .option('--link-gb-per-s <n>', 'communication of a rank in one direction, GB/s', positiveNumber)
    .option('--efficiency <share>', 'share of the products that a step reaches', numberBetween(0.01, 1))
    .addOption(setOption())
    .addOption(chatTemplateSetting())
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'sralign plan examples/demo/sft.yaml --memory 8GiB',
        'sralign plan examples/recipes/hh-pythia-2.8b/sr-dpo.yaml --gpus 8 --memory 80GiB \\\n' +
          '      --tflops 312 --memory-gb-per-s 2000 --link-gb-per-s 300 --set training.device=cuda',
      ),
    )
    .action(withProgress(runPlan));
}

async function runPlan(file: string, options: PlanOptions): Promise<void> {
  const core = await import('@sralign/core');
  const config = await core.loadConfig(file, settingsOf(options));
  const { tflops, memoryGbPerS, linkGbPerS, efficiency } = options;
  const plan = await core.planRun(config, {
    worldSize: options.gpus,
    memoryBytes: options.memory,
    ceilings: {
      ...(tflops !== undefined && { flopsPerSecond: tflops * 1e12 }),
      ...(memoryGbPerS !== undefined && { memoryBytesPerSecond: memoryGbPerS * 1e9 }),
      ...(linkGbPerS !== undefined && { linkBytesPerSecond: linkGbPerS * 1e9 }),
      ...(efficiency !== undefined && { efficiency }),
    },
    spareFolder: dirname(file),
  });
  process.stdout.write(`${options.json ? JSON.stringify(plan, null, 2) : describe(plan)}\n`);
}

/** Powers of 1024 for the bare letters too, as Docker and systemd read them. */
const UNITS: Readonly<Record<string, number>> = {
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  ...Object.fromEntries(
    ['K', 'M', 'G', 'T'].flatMap((letter, index) =>
      [letter, `${letter}I`, `${letter}IB`].map(unit => [unit, 1024 ** (index + 1)]),
    ),
  ),
};

/** "80GiB", "24G", "24GB" -> bytes. */
function byteCount(text: string): number {
  const [, amount, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text) ?? [];
  const bytes = Number(amount) * (UNITS[unit?.toUpperCase() ?? ''] ?? Number.NaN);
  if (!(bytes > 0)) throw new InvalidArgumentError('It must be a size such as 80GiB, 24G or 24GB.');
  return bytes;
}

function describe(plan: RunPlan): string {
  return [
    heading(plan),
    memorySection(plan.memory, verdictOf(plan)),
    communicationSection(plan),
    timeSection(plan),
    `What fits into ${byteSize(plan.memoryBytes)}\n${alternativesTable(plan.alternatives)}`,
    `Assumptions\n${plan.assumptions.map(line => `- ${line}`).join('\n')}`,
  ].join('\n\n');
}

function heading(plan: RunPlan): string {
  const { worldSize, parameters, dtype, batchPairs, microbatchPairs, microbatches } = plan;
  return (
    `${number(parameters)} parameters in ${dtype} on ${worldSize} ${worldSize === 1 ? 'rank' : 'ranks'}` +
    `${worldSize === 1 ? '' : `, sharding ${plan.sharding}`}; ${batchPairs} pairs a step, ` +
    `${microbatches} x ${microbatchPairs} of a rank${plan.activationCheckpointing ? ', activation checkpointing' : ''}`
  );
}

const verdictOf = ({ fits, freeBytes, memoryBytes }: RunPlan): string =>
  fits
    ? `fits, ${byteSize(freeBytes)} free of ${byteSize(memoryBytes)}`
    : `DOES NOT FIT, ${byteSize(-freeBytes)} more than ${byteSize(memoryBytes)}`;

function communicationSection({ step, worldSize }: RunPlan): string {
  if (worldSize === 1) return 'Communication: none';
  const { allGatherBytes, reduceScatterBytes, allReduceBytes } = step.communication;
  const entries: [string, number][] = [
    ['all-gather', allGatherBytes],
    ['reduce-scatter', reduceScatterBytes],
    ['all-reduce', allReduceBytes],
  ];
  return `Communication of a rank in a step, bytes sent (as many are received)\n${listing(
    entries.filter(([, bytes]) => bytes > 0).map(([name, bytes]) => [name, byteSize(bytes)]),
  )}`;
}

function timeSection({ step, worldSize, ceilings }: RunPlan): string {
  const { linearFlops, attentionFlops, communicationSeconds, exposedSeconds } = step;
  const tera = (flops: number): string => `${number(flops / 1e12)} TFLOP`;
  const communication =
    ceilings.linkBytesPerSecond === null
      ? 'not counted'
      : `${seconds(exposedSeconds)}, of ${seconds(communicationSeconds)} what is not hidden`;
  return `Time of a step\n${listing([
    [
      'compute',
      `${seconds(step.computeSeconds)}: ${tera(linearFlops)} of linear layers, ${tera(attentionFlops)} of attention`,
    ],
    ...(worldSize === 1 ? [] : [['communication', communication] as const]),
    ['optimizer', seconds(step.optimizerSeconds)],
    ['step', seconds(step.stepSeconds)],
  ])}`;
}

/** 0.0312 -> "31 ms". */
const seconds = (value: number): string => (value < 1 ? `${number(value * 1000)} ms` : duration(value));

function alternativesTable(alternatives: readonly Alternative[]): string {
  return table(
    ['sharding', 'checkpointing', 'as configured', '', 'largest microbatchPairs', 'memory', 'step'],
    alternatives.map(({ sharding, activationCheckpointing, totalBytes, fits, largest }) => [
      sharding,
      activationCheckpointing ? 'yes' : 'no',
      byteSize(totalBytes),
      fits ? 'fits' : 'too much',
      ...(largest === null
        ? ['none', '-', '-']
        : [microbatch(largest), byteSize(largest.totalBytes), seconds(largest.stepSeconds)]),
    ]),
  );
}

/** "4"; "null (3)" where the configuration refuses the number, because it does not divide the batch. */
const microbatch = ({ setting, microbatchPairs }: NonNullable<Alternative['largest']>): string =>
  setting === null ? `null (${microbatchPairs})` : `${setting}`;
