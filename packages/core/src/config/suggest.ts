/** What a wrong key was probably meant to be. */
import { distance } from 'fastest-levenshtein';
import { describeConfig } from './describe.js';
import { COLUMN_FIELDS, SOURCE_KEYS } from './schema/data.js';

/** Settings of others that are none here: what does their work. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  per_device_train_batch_size:
    'Here "training.microbatchPairs" is what one device computes at once, and "training.batchPairs" what all of them ' +
    'compute for one optimizer step.',
  gradient_accumulation_steps:
    'Here it follows from "training.batchPairs", the pairs of an optimizer step: per_device_train_batch_size x ' +
    'gradient_accumulation_steps x devices. "training.microbatchPairs" is what one device computes at once.',
  warmup_ratio: 'Here "schedule.warmupSteps" counts the steps of the warm-up.',
};

/** What TRL's DPOTrainer, CPOTrainer and KTOTrainer call `loss_type`, and what of it there is here. */
const LOSS_TYPES: Readonly<Record<string, string>> = {
  sigmoid: 'dpo',
  ipo: 'ipo',
  robust: 'dpo, with loss.labelSmoothing',
  cdpo: 'dpo, with loss.labelSmoothing',
  ...Object.fromEntries(
    [
      ...['hinge', 'exo_pair', 'nca_pair', 'bco_pair', 'sppo_hard', 'aot', 'aot_unpaired', 'aot_pair'],
      ...['apo_zero', 'apo_zero_unpaired', 'apo_down', 'discopop', 'sigmoid_norm', 'simpo', 'alphapo'],
      ...['kto', 'bco', 'orpo', 'cpo', 'rloo', 'grpo', 'ppo'],
    ].map(name => [name, '']),
  ),
};

/** A sentence about a value that has another name here, or is not there; null for any other. */
export function hintForValue(path: string, value: string): string | null {
  if (path !== 'method') return null;
  const name = value.toLowerCase().replaceAll('-', '_');
  if (!Object.hasOwn(LOSS_TYPES, name)) return null;
  const here = LOSS_TYPES[name];
  return here === '' ? `sralign does not have ${value}.` : `Here it is ${here}.`;
}

export interface KeySuggestion {
  /** The key that was meant; null where none is near. */
  readonly path: string | null;
  /** One sentence or two. */
  readonly hint: string;
}

/**
 * About an unknown key: its name here when it is TRL's name of a setting, else the nearest key.
 *
 * @param section path of the mapping that holds the key @param value what it was given
 */
export function suggestKey(section: readonly string[], key: string, value?: unknown): KeySuggestion {
  if (section[0] === 'data' && section.at(-1) === 'columns') return suggestColumn(section, key);
  const elsewhere = Object.keys(ELSEWHERE).find(name => normalize(name) === normalize(key));
  if (elsewhere !== undefined) return { path: null, hint: ELSEWHERE[elsewhere]! };
  const keys = describeConfig();
  const names = [key, [...section, key].join('_')].map(normalize);
  const twin = keys.find(({ trl }) => trl.some(name => names.includes(normalize(name))));
  if (twin !== undefined && twin.path !== [...section, key].join('.')) {
    return {
      path: twin.path,
      hint: `Here it is "${twin.path}"${allowedFor(twin)}.${lossType(twin.path, value)}`,
    };
  }

  const prefix = section.map(part => `${part}.`).join('');
  const isSource = /^data\.(train|eval)\./.test(prefix);
  const siblings = isSource
    ? SOURCE_KEYS
    : [
        ...new Set(
          keys
            .filter(({ path }) => path.startsWith(prefix))
            .map(({ path }) => path.slice(prefix.length).split('.')[0]!),
        ),
      ];
  const candidates = [
    ...siblings.map(name => ({ name, path: prefix + name })),
    ...keys.map(({ path }) => ({ name: path.split('.').at(-1)!, path })),
  ];
  const nearest = nearestOf(
    key,
    candidates.map(({ name }) => name),
  );
  if (nearest === null) return { path: null, hint: `Known keys here: ${siblings.join(', ')}.` };
  const { path } = candidates.find(({ name }) => name === nearest)!;
  return { path, hint: `Did you mean "${path}"?` };
}

/** The keys of data.columns are fields of the data formats, whatever the settings are called. */
function suggestColumn(section: readonly string[], key: string): KeySuggestion {
  const nearest = nearestOf(key, COLUMN_FIELDS);
  if (nearest === null) return { path: null, hint: `Known fields here: ${COLUMN_FIELDS.join(', ')}.` };
  const path = [...section, nearest].join('.');
  return { path, hint: `Did you mean "${path}"?` };
}

/** What TRL calls a loss, behind the key that it belongs to. */
function lossType(path: string, value: unknown): string {
  const hint = typeof value === 'string' ? hintForValue(path, value) : null;
  return hint === null ? '' : ` ${hint.replace('Here it is', `${value} is here`)}`;
}

/** Its words, for the key whose values others call otherwise. */
const allowedFor = ({ path, type }: { path: string; type: string }): string =>
  path === 'method' ? `: one of ${type.replaceAll(' | ', ', ')}` : '';

/** The word nearest to `word`, the first of equals; null when none is near. */
export function nearestOf(word: string, candidates: readonly string[]): string | null {
  const wanted = normalize(word);
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    const d = distance(wanted, normalize(candidate));
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best;
}

/** batch_pairs, batch-pairs and batchPairs are one name. */
const normalize = (name: string): string => name.toLowerCase().replaceAll(/[_-]/g, '');
