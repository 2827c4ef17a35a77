/** Settings that some runs do not read: stated once, whose they are. */
import { isDeepStrictEqual } from 'node:util';
import { describeConfig } from './describe.js';
import { isRefined } from './method.js';
import type { Config } from './schema.js';

interface Users {
  readonly keys: readonly string[];
  /** Whom the keys are for. */
  readonly users: string;
  readonly isUser: (config: Config) => boolean;
}

const isPlain = ({ method }: Config): boolean => method === 'dpo' || method === 'ipo';
const isPreference = ({ method }: Config): boolean => method !== 'sft';

/** Every other key is for every run; loss.labelSmoothing is refused where it has no meaning (schema.ts). */
export const USERS: readonly Users[] = [
  {
    keys: [
      'loss.beta',
      'loss.logpReduction',
      'reference.model',
      'reference.cacheFolder',
      'reference.verifyPairs',
    ],
    users: 'dpo, ipo, sr-dpo and sr-ipo',
    isUser: isPreference,
  },
  { keys: ['loss.lambda'], users: 'sr-dpo and sr-ipo', isUser: ({ method }) => isRefined(method) },
  {
    keys: [
      'augmentation.prompt',
      'augmentation.placement',
      'augmentation.separator',
      'augmentation.maxTokens',
    ],
    users: 'sr-dpo and sr-ipo, and for the evaluation of dpo and ipo (evaluation.augmented)',
    isUser: config =>
      isRefined(config.method) ||
      (isPlain(config) && config.data.eval.length > 0 && config.evaluation.augmented !== false),
  },
  { keys: ['evaluation.augmented'], users: 'dpo and ipo', isUser: isPlain },
  { keys: ['sft.reduction', 'sft.turns'], users: 'sft', isUser: ({ method }) => method === 'sft' },
  {
    keys: ['optimizer.alpha'],
    users: 'optimizer.name: rmsprop',
    isUser: ({ optimizer }) => optimizer.name === 'rmsprop',
  },
  {
    keys: ['optimizer.beta1', 'optimizer.beta2'],
    users: 'optimizer.name: adamw',
    isUser: ({ optimizer }) => optimizer.name === 'adamw',
  },
];

/** Settings that are not the default and that the run does not read, each with whom it is for. */
export function unusedSettings(config: Config): { path: string; users: string }[] {
  const defaults = new Map(describeConfig().map(key => [key.path, key.default]));
  return USERS.filter(({ isUser }) => !isUser(config)).flatMap(({ keys, users }) =>
    keys
      .filter(path => defaults.has(path) && !isDeepStrictEqual(settingOf(config, path), defaults.get(path)))
      .map(path => ({ path, users })),
  );
}

function settingOf(config: Config, path: string): unknown {
  const [section, key] = path.split('.') as [keyof Config, string];
  return (config[section] as Record<string, unknown>)[key];
}
