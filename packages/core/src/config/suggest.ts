/** What a wrong key was probably meant to be. */
import { distance } from 'fastest-levenshtein';
import { describeConfig } from './describe.js';

/**
 * One sentence about an unknown key: its name here when it is TRL's name of a setting, else the nearest key.
 *
 * @param section path of the mapping that holds the key
 */
export function suggestKey(section: readonly string[], key: string): string {
  const keys = describeConfig();
  const twin = keys.find(({ trl }) => trl.some(name => normalize(name) === normalize(key)));
  if (twin !== undefined && twin.path !== [...section, key].join('.')) return `Here it is "${twin.path}".`;

  const prefix = section.map(part => `${part}.`).join('');
  const siblings = [
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
  if (nearest === null) return `Known keys here: ${siblings.join(', ')}.`;
  return `Did you mean "${candidates.find(({ name }) => name === nearest)!.path}"?`;
}

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
