/** What is wrong with a configuration, all of it at once: zod's issues in the words of this project. */
import type { z } from 'zod';
import { ConfigError, type ErrorDetails, shown } from '../errors.js';
import { hintForValue, nearestOf, suggestKey } from './suggest.js';

export type Path = readonly string[];

/** Says where the value of a key was written. */
export type Locate = (path: Path) => ErrorDetails;

/** Mistakes that are shown in full; a file that is no configuration has no end of them. */
const MOST_SHOWN = 10;

/** The error map of zod: what was expected. `found` is added to it, also where a schema has a message of its own. */
export function expectation(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return `Expected ${issue.expected === 'object' ? 'a mapping of keys to values' : issue.expected}`;
    case 'too_small':
      return issue.origin === 'string' && issue.minimum === 1
        ? 'Expected string that is not empty'
        : `Expected ${issue.origin} ${issue.inclusive ? '>=' : '>'}${issue.minimum}`;
    case 'too_big':
      return `Expected ${issue.origin} ${issue.inclusive ? '<=' : '<'}${issue.maximum}`;
    case 'invalid_value':
      return `Expected one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_union':
      return `Expected ${issue.errors.map(([first]) => alternative(first)).join(', or ')}`;
    default:
      return undefined;
  }
}

const alternative = (issue: z.core.$ZodIssue | undefined): string =>
  (issue?.message ?? 'something else').replace(/^Expected /, '');

/** @returns one error for all issues, those of unknown keys first: a misspelt key is often why another one is missing */
export function mistakesOf(found: readonly z.core.$ZodIssue[], locate: Locate): ConfigError {
  const issues = found.flatMap(inside);
  const meant = new Set<string>();
  const unknown = issues.flatMap(issue => {
    if (issue.code !== 'unrecognized_keys') return [];
    const path = issue.path.map(String);
    return issue.keys.map(key => {
      const { path: suggested, hint } = suggestKey(
        path,
        key,
        (issue.input as Record<string, unknown> | undefined)?.[key],
      );
      if (suggested !== null) meant.add(suggested);
      return new ConfigError('Unknown key.', { ...locate([...path, key]), hint });
    });
  });
  const others = issues
    .filter(({ code, input, path }) => {
      const isMeant = input === undefined && meant.has(path.join('.'));
      return code !== 'unrecognized_keys' && !isMeant;
    })
    .map(issue => wrongValue(issue, locate));
  return allOf([...unknown, ...others]);
}

/** What is wrong inside a value that may be of several kinds, where it is plain which of them it is. */
function inside(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const isOfKind = (option: readonly z.core.$ZodIssue[]): boolean =>
    option.some(({ code, path }) => path.length > 0 || code === 'unrecognized_keys' || code === 'custom');
  const meant = issue.errors.filter(isOfKind);
  if (meant.length !== 1) return [issue];
  return meant[0]!.map(inner => ({ ...inner, path: [...issue.path, ...inner.path] })).flatMap(inside);
}

function wrongValue(issue: z.core.$ZodIssue, locate: Locate): ConfigError {
  const path = issue.path.map(String);
  if (issue.input === undefined) return new ConfigError('This key is required.', locate(path));
  const hint = hintFor(issue);
  return new ConfigError(`${issue.message}, found ${shown(issue.input)}.`, {
    ...locate(path),
    ...(hint !== null && { hint }),
  });
}

function hintFor(issue: z.core.$ZodIssue): string | null {
  if (issue.code !== 'invalid_value' || typeof issue.input !== 'string') return null;
  const known = hintForValue(issue.path.join('.'), issue.input);
  if (known !== null) return known;
  const nearest = nearestOf(issue.input, issue.values.map(String));
  return nearest && `Did you mean "${nearest}"?`;
}

/** One error that says what each of `errors` says. @param errors at least one */
export function allOf(errors: readonly ConfigError[]): ConfigError {
  const [first] = errors;
  if (errors.length === 1) return first!;
  const lines = errors.slice(0, MOST_SHOWN).map(({ message }) => `  ${message}`);
  if (errors.length > MOST_SHOWN) lines.push(`  and ${errors.length - MOST_SHOWN} more`);
  return new ConfigError(`There are ${errors.length} mistakes in the configuration:\n${lines.join('\n')}`, {
    mistakes: errors,
  });
}
