/** `sralign generate MODEL`: text from a model folder, as it is produced. */
import type { DeviceName } from '@sralign/native';
import { Command, Option } from 'commander';
import { deviceOption, examples, numberBetween, wholeNumber } from '../options.js';
import { withProgress } from '../report/with-progress.js';

interface GenerateOptions {
  prompt: string;
  maxNewTokens: number;
  temperature: number;
  topP: number;
  seed: number;
  dtype: 'f32' | 'bf16';
  device: DeviceName;
  chat?: boolean;
}

export function generateCommand(): Command {
  return new Command('generate')
    .summary('continue a prompt with a model')
    .description('Continues a prompt and writes the text to stdout as it comes.')
    .argument('<model>', 'a folder, a name on the hub, a RUN, or RUN@100, its checkpoint of that step')
    .requiredOption('--prompt <text>', 'text to continue')
    .option('--max-new-tokens <n>', 'stop after n tokens', wholeNumber(1), 256)
    .option(
      '--temperature <t>',
      '0 takes the likeliest token each time',
      numberBetween(0, Number.POSITIVE_INFINITY),
      0,
    )
    .option('--top-p <p>', 'draw from the likeliest tokens that hold this share', numberBetween(0, 1), 1)
    .option('--seed <n>', 'seed of the draws', wholeNumber(0), 0)
    .addOption(new Option('--dtype <type>', 'compute type').choices(['f32', 'bf16']).default('f32'))
    .addOption(deviceOption())
    .option('--chat', "send the prompt as a user turn of the model's chat template")
    .addHelpText(
      'after',
      examples(
        'sralign generate examples/models/stories260k --prompt "Once upon a time"',
        'sralign generate runs/demo/sr-dpo/final --prompt "One day" --temperature 0.8 --top-p 0.95 --seed 1',
        'sralign generate alignment-handbook/zephyr-7b-sft-full --chat --dtype bf16 --prompt "Why is the sky blue?"',
      ),
    )
    .action(withProgress(runGenerate));
}

async function runGenerate(model: string, options: GenerateOptions): Promise<void> {
  const { useDevice } = await import('@sralign/native');
  const core = await import('@sralign/core');
  useDevice(options.device);
  const folder = await core.resolveModelFolder(model, 'main');
  const tokenizer = await core.loadTokenizer(folder);
  const loaded = await core.loadModel(folder, { dtype: options.dtype });
  for (const notice of loaded.notices) process.stderr.write(`note: ${notice}\n`);
  const prompt = options.chat ? [{ role: 'user', content: options.prompt } as const] : options.prompt;
  if (typeof prompt === 'string') process.stdout.write(prompt);
  for await (const text of core.generateText(loaded, tokenizer, { ...options, prompt }))
    process.stdout.write(text);
  process.stdout.write('\n');
}
