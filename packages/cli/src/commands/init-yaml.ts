/** The text of a first configuration, with a comment for whatever was found out or will be changed first. */

export interface FirstSettings {
  readonly method: string;
  readonly model: string;
  readonly modelType: string;
  readonly maxPositions: number;
  readonly data: string;
  readonly eval: string | null;
  readonly format: string;
  /** The fields by which the format was recognised. */
  readonly by: readonly string[];
  readonly isChat: boolean;
  readonly chatTemplate: string | null;
  readonly maxTokens: number;
  readonly augmentationTokens: number;
  readonly refined: boolean;
  /** Null where there are more than were looked at. */
  readonly pairs: number | null;
  readonly batchPairs: number;
  readonly warmupSteps: number;
  readonly folder: string;
}

/** Every value is written as JSON, which YAML reads as it is; but words without quotes. */
export function yamlOf(settings: FirstSettings): string {
  const { method, maxTokens, refined, augmentationTokens, pairs, batchPairs } = settings;
  const evaluates = settings.eval !== null;
  return `# Written by \`sralign init\`. All keys and their defaults: docs/configuration.md.
${lines([['method', method, 'sft, dpo, ipo, sr-dpo or sr-ipo (docs/method.md)']])}
model:
${section([['path', settings.model, `${settings.modelType}, ${settings.maxPositions} positions`]])}
data:
${section([
  [
    'format',
    settings.format,
    settings.by.length === 0 ? 'as found' : `recognised by ${settings.by.join(', ')}`,
  ],
  ['train', settings.data, pairs === null ? 'more rows than were looked at' : `${pairs} rows`],
  [
    'eval',
    settings.eval ?? [],
    evaluates ? 'what the metrics are measured on' : 'rows kept apart, to be measured on',
  ],
])}
tokens:
${section([
  [
    'maxTokens',
    maxTokens,
    refined ? `beside ${augmentationTokens} of p they fit the model` : 'they fit the model',
  ],
  ['maxPromptTokens', Math.floor(maxTokens / 2), 'what is left is for the answer'],
  ['longPrompt', 'keep-end', 'or keep-start, drop, error; `sralign data preview` shows what is cut'],
  ['chatTemplate', settings.chatTemplate, templateComment(settings)],
])}${
  method === 'sft'
    ? ''
    : `
augmentation:
${section([['maxTokens', augmentationTokens, 'limit of the quality prompt p, which is never cut']])}
loss:
${section([
  ['beta', 0.1, 'lower: the model may move further from where it starts'],
  ...(refined ? ([['lambda', 0.3, 'weight of the self-refinement; 0 is plain']] as const) : []),
])}`
}
optimizer:
${section([
  [
    'learningRate',
    method === 'sft' ? 1e-5 : 5e-7,
    method === 'sft'
      ? 'usual for fine-tuning'
      : "the paper's, for 2.8B and 7B parameters; small models take more",
  ],
])}
schedule:
${section([['warmupSteps', settings.warmupSteps, 'steps until the learning rate is reached']])}
training:
${section([
  ['epochs', 1, 'passes over the data'],
  ['batchPairs', batchPairs, 'rows of an optimizer step'],
  [
    'microbatchPairs',
    Math.min(8, batchPairs),
    'of these at once: lower it where memory is short, the result stays',
  ],
])}${
  evaluates
    ? `
evaluation:
${section([['everySteps', 50, 'and at the start and the end']])}`
    : ''
}
output:
${section([['folder', settings.folder, 'checkpoints, metrics and final/, the trained model']])}`;
}

type Setting = readonly [key: string, value: unknown, comment: string];

const lines = (settings: readonly Setting[]): string =>
  settings.map(([key, value, comment]) => `${key}: ${written(value)} # ${comment}\n`).join('');

const written = (value: unknown): string => {
  const isWord = typeof value === 'string' && /^[a-z./][\w./@-]*$/i.test(value) && /[a-z]{2}/i.test(value);
  return isWord && !/^(null|true|false|yes|no|on|off|\.inf|\.nan)$/i.test(value)
    ? value
    : JSON.stringify(value);
};

const section = (settings: readonly Setting[]): string => lines(settings).replaceAll(/^(?=.)/gm, '  ');

function templateComment({ isChat, chatTemplate }: FirstSettings): string {
  if (!isChat) return 'the data are plain text';
  if (chatTemplate === null) return "the tokenizer's own";
  return 'the tokenizer has none; or llama-3, zephyr, mistral, gemma, hh, or a file';
}
