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
        'sralign consolidate runs/sr-dpo/checkpoints/step-000100 runs/sr-dpo/step-000100-model',
        'sralign consolidate runs/demo/dpo/checkpoints/step-000020 /tmp/dpo-20',
      ),
    )
    .action(withProgress(runConsolidate));
}

async function runConsolidate(checkpoint: string, out: string, { json }: { json?: boolean }): Promise<void> {
  const { consolidate } = await import('@sralign/core');
  await consolidate(checkpoint, out);
  process.stdout.write(`${json ? JSON.stringify({ folder: out }) : out}\n`);
}
