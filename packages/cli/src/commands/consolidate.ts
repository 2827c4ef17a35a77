/** `sralign consolidate CHECKPOINT OUT`: the shards of all ranks as one model folder. */
import { Command } from 'commander';
import { examples } from '../options.js';
import { withProgress } from '../report/with-progress.js';

export function consolidateCommand(): Command {
  return new Command('consolidate')
    .summary('make a model folder of a sharded checkpoint')
    .description(
      'Writes the weights of a checkpoint that several ranks have written, each its shard, as a Hugging Face folder in ' +
        'f32. Needs the memory of one tensor.',
    )
    .argument(
      '<checkpoint>',
      'step of a run, such as RUN@100, or the folder of a checkpoint, with the shards of all ranks',
    )
    .argument('<out>', 'folder to write; it must not exist')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      examples(
        'sralign consolidate runs/sft@53 sft-53',
        'sralign consolidate runs/sft/checkpoints/step-000053 sft-53-again --json',
      ),
    )
    .action(withProgress(runConsolidate));
}

async function runConsolidate(checkpoint: string, out: string, { json }: { json?: boolean }): Promise<void> {
  const { consolidate } = await import('@sralign/core');
  await consolidate(checkpoint, out);
  process.stdout.write(`${json ? JSON.stringify({ folder: out }) : out}\n`);
}
