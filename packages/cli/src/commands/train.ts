/** `sralign train CONFIG`: one training run, from a configuration file to a run folder. */
import type { Ranks, TrainResult } from '@sralign/core';
import { Command } from 'commander';
import { interruptible } from '../interrupt.js';
import { chatTemplateSetting, examples, setOption, settingsOf } from '../options.js';
import { bestEvaluation, progress } from '../report/progress.js';
import { besideShare, duration, listing, number } from '../report/table.js';
import { trainInWorker } from '../worker/train-in-worker.js';

interface TrainOptions {
  set: string[];
  chatTemplate?: string;
  resume?: boolean;
  overwrite?: boolean;
  trace?: string;
  json?: boolean;
}

export function trainCommand(): Command {
  return new Command('train')
    .summary('train a model on preference pairs')
    .description(
      'Trains a model on preference pairs as CONFIG says; `method` in it chooses SFT, DPO, IPO, Sr-DPO or Sr-IPO. ' +
        'Ctrl-C saves a checkpoint and exits with code 130; --resume goes on from it.',
    )
    .argument(
      '<config>',
      'YAML file (keys: docs/configuration.md); paths in it are relative to the current folder',
    )
    .addOption(setOption())
    .addOption(chatTemplateSetting())
    .option(
      '--resume',
      'go on from the last checkpoint of the output folder; without one, start from the beginning',
    )
    .option('--overwrite', 'delete the run that the output folder holds and start anew')
    .option('--trace <file>', 'write what the ranks did when, in the Chrome trace format; for short runs')
    .option('--json', 'print the result as one JSON object on stdout')
    .addHelpText(
      'after',
      examples(
        'sralign train examples/demo/sft.yaml',
        'sralign train examples/demo/dpo.yaml --set model.path=runs/sft',
        'sralign train examples/demo/sr-dpo.yaml --set loss.lambda=0.5 --set output.folder=runs/half',
        'sralign train examples/demo/dpo.yaml --set model.path=runs/sft --resume',
      ),
    )
    .action(runTrain);
}

async function runTrain(file: string, options: TrainOptions, command: Command): Promise<void> {
  if (options.resume && options.overwrite)
    command.error('error: --resume and --overwrite exclude each other');
  const { environment, failWorld, joinWorld, leaveWorld, loadConfig } = await import('@sralign/core');
  // Before anything that can fail on one host only, so that the failure of one rank is that of the job.
  sayThatItWaits(environment());
  const ranks = joinWorld();
  const speaks = ranks.rank === 0;
  const config = await loadConfig(file, settingsOf(options));
  const result = await interruptible(
    async signal => {
      const result = await trainInWorker(config, {
        resume: options.resume ?? false,
        overwrite: options.overwrite ?? false,
        configFile: file,
        ...(options.trace !== undefined && { trace: options.trace }),
        signal,
        ...(speaks && { onEvent: progress(process.stderr, { everySteps: config.logging.everySteps }) }),
      });
      leaveWorld();
      return result;
    },
    {
      ...(ranks.worldSize > 1 && { announce: speaks ? announceOfJob : () => {} }),
      stopAtOnce: () => failWorld('Stopped at once, without a checkpoint.', 130),
    },
  );
  // One rank tells the launcher how it ended; of several, the first to end otherwise than with 0 has the others killed.
  if (!speaks) return;
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${summary(result)}\n`);
  if (result.interrupted) process.exitCode = 130;
}

/** Under mpirun the ranks are there at once; others may come minutes later. */
function sayThatItWaits({ rank, worldSize, masterAddress, masterPort }: Ranks): void {
  if (rank > 0 || worldSize === 1 || masterAddress === undefined || masterPort === undefined) return;
  const others = `${worldSize - 1} other rank${worldSize === 2 ? '' : 's'}`;
  process.stderr.write(`waiting for ${others} at ${masterAddress}:${masterPort}, at most 5 minutes\n`);
}

/**
 * Says what the first signal has set off. `sralign launch` makes SIGUSR2 of a Ctrl-C; and when a rank has failed, mpirun
 * sends SIGTERM to the others, which the control channel ends before there is anything to say.
 */
function announceOfJob(text: string, signal: NodeJS.Signals): void {
  const announce = (): unknown => process.stderr.write(text.replace('SIGUSR2: ', ''));
  if (signal === 'SIGTERM') setTimeout(announce, 2000).unref();
  else announce();
}

function summary(result: TrainResult): string {
  const metrics = Object.entries(result.metrics).filter(([name]) => !/(time|memory)\//.test(name));
  const chosen = result.finalStep === result.steps ? '' : ` (the best one: ${bestEvaluation(result.best)})`;
  const place = result.interrupted
    ? `Interrupted after step ${result.steps}; saved in ${result.runFolder}. Go on with --resume.`
    : `Model: ${result.finalFolder}${chosen}\nRun:   ${result.runFolder} (config.yaml, metrics.jsonl, TensorBoard events)`;
  return [
    listing([
      ['steps', number(result.steps)],
      ['time', duration(result.seconds)],
      ...metrics.map(([name, value]) => [name, number(value) + besideShare(result.intervals[name])] as const),
    ]),
    place,
  ].join('\n\n');
}
