/** `sralign generate MODEL`: text from a model folder, as it is produced. */
import { randomInt } from 'node:crypto';
import type { DeviceName } from '@sralign/native';
import { Command, Option } from 'commander';
import { chatTemplateOption, deviceOption, examples, numberBetween, wholeNumber } from '../options.js';
import { withProgress } from '../report/with-progress.js';

interface GenerateOptions {
  prompt: string;
  maxNewTokens: number;
  temperature: number;
  topP: number;
  seed?: number;
  dtype: 'f32' | 'bf16';
  device: DeviceName;
  chat?: boolean;
  chatTemplate?: string;
  json?: boolean;
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
    .option('--seed <n>', 'seed of the draws; without it each call draws another text', wholeNumber(0))
    .addOption(new Option('--dtype <type>', 'compute type').choices(['f32', 'bf16']).default('f32'))
    .addOption(deviceOption())
    .option('--chat', "send the prompt as a user turn of the model's chat template")
    .addOption(chatTemplateOption('implies --chat').implies({ chat: true }))
    .option('--json', 'print one JSON object: prompt, text, seed')
    .addHelpText(
      'after',
      examples(
        'sralign generate examples/models/stories260k --prompt "Once upon a time"',
        'sralign generate examples/models/stories260k --prompt "One day" --temperature 0.8 --top-p 0.95 --seed 1',
        'sralign generate examples/models/stories260k --chat-template chatml --prompt "Why is the sky blue?"',
      ),
    )
    .action(withProgress(runGenerate));
}

async function runGenerate(model: string, options: GenerateOptions): Promise<void> {
  const core = await import('@sralign/core');
  core.chooseDevice(options.device, '--device');
  const folder = await core.resolveModelFolder(model);
  const { chatTemplate = null, temperature, seed = randomInt(2 ** 32), json } = options;
  const tokenizer = await core.loadTokenizer(folder, { chatTemplate });
  const loaded = await core.loadModel(folder, { dtype: options.dtype });
  const prompt = options.chat ? [{ role: 'user', content: options.prompt } as const] : options.prompt;
  const endOfTurn = options.chat ? core.endOfTurnNotice(tokenizer) : null;
  const drawn = temperature > 0 && options.seed === undefined ? [`--seed ${seed} draws this text again`] : [];
  for (const notice of [...loaded.notices, ...(endOfTurn === null ? [] : [endOfTurn]), ...drawn])
    process.stderr.write(`note: ${notice}\n`);
  if (!json && typeof prompt === 'string') process.stdout.write(prompt);
  let whole = '';
  for await (const text of core.generateText(loaded, tokenizer, { ...options, seed, prompt })) {
    whole += text;
    if (!json) process.stdout.write(text);
  }
  process.stdout.write(json ? `${JSON.stringify({ prompt: options.prompt, text: whole, seed })}\n` : '\n');
}
