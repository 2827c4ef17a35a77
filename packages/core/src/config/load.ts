/** A configuration from a YAML file, with `--set` on top, checked; and back to YAML. */
import { type Document, isMap, isPair, isScalar, stringify } from 'yaml';
import type { z } from 'zod';
import { ConfigError, type ErrorDetails, shown } from '../errors.js';
import { type Config, configSchema, findConflict } from './schema.js';
import { nearestOf, suggestKey } from './suggest.js';
import { isMapping, parseYaml, readYamlFile, shortened } from './yaml.js';

type Path = readonly string[];

/** Says where the value of a key was written. */
type Locate = (path: Path) => ErrorDetails;

/**
 * Checks a configuration given as a value and fills in the defaults.
 *
 * @param file named in errors
 * @throws ConfigError naming the key, with the nearest known key when it is unknown
 */
export function parseConfig(value: unknown, file?: string): Config {
  return check(value, path => ({ ...(file === undefined ? {} : { file }), field: path.join('.') }));
}

/**
 * Reads and checks a YAML configuration. Relative paths in it stay relative to the current directory.
 *
 * @param overrides `path.of.key=value`, the value in YAML; they win over the file
 * @throws ConfigError with file, line and column, or with the override that is wrong
 */
export async function loadConfig(file: string, overrides: readonly string[] = []): Promise<Config> {
  const source = await readYamlFile(file);
  const yaml = parseYaml(source, { file }, true);
  const { document, position } = yaml;
  if (!isMapping(yaml)) {
    throw new ConfigError('The configuration is not a mapping of keys to values.', { file });
  }

  const config = yaml.value as Record<string, unknown>;
  const flags = new Map<string, string>();
  for (const override of overrides) flags.set(applyOverride(config, override), override);
  return check(config, path => {
    for (let length = path.length; length > 0; length--) {
      const flag = flags.get(path.slice(0, length).join('.'));
      if (flag !== undefined) return { file: flagText(flag), field: path.join('.') };
    }
    // A section that no file knows comes from the override of a key in it.
    const inside = [...flags].find(([key]) => key.startsWith(`${path.join('.')}.`));
    if (inside !== undefined && !document.hasIn(path)) {
      return { file: flagText(inside[1]), field: path.join('.') };
    }
    return { ...position(offsetOf(document, path)), field: path.join('.') };
  });
}

/** YAML of a complete configuration; reading it gives the same configuration. */
export function stringifyConfig(config: Config): string {
  const header = '# The configuration of a run of sralign, with every default filled in.\n';
  return header + stringify(config, { lineWidth: 0 });
}

function check(value: unknown, locate: Locate): Config {
  const result = configSchema.safeParse(value, { reportInput: true });
  if (!result.success) throw toConfigError(result.error.issues, locate);
  const conflict = findConflict(result.data);
  if (conflict !== null) {
    throw new ConfigError(conflict.message, { ...locate(conflict.path), hint: conflict.hint });
  }
  return result.data;
}

/** The first issue, unknown keys before others: a misspelt key is often why another one is missing. */
function toConfigError(issues: readonly z.core.$ZodIssue[], locate: Locate): ConfigError {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const unknown = issue.keys[0]!;
    return new ConfigError('Unknown key.', {
      ...locate([...path, unknown]),
      hint: suggestKey(path, unknown),
    });
  }
  if (issue.input === undefined) return new ConfigError('This key is required.', locate(path));
  const found = `found ${shown(issue.input)}`;
  if (issue.code === 'invalid_value') {
    const allowed = issue.values.map(String);
    const nearest = typeof issue.input === 'string' ? nearestOf(issue.input, allowed) : null;
    return new ConfigError(`Expected one of ${allowed.join(', ')}, ${found}.`, {
      ...locate(path),
      ...(nearest === null ? {} : { hint: `Did you mean "${nearest}"?` }),
    });
  }
  const expected =
    issue.code === 'invalid_union' ? 'Expected a file or a list of files' : expectation(issue.message);
  return new ConfigError(`${expected}, ${found}.`, locate(path));
}

/** zod's message without its opening and what was received. */
function expectation(message: string): string {
  return message
    .replace(/^(Invalid input|Too small|Too big): /, '')
    .replace(/, received .*$/, '')
    .replace('expected object', 'expected a mapping of keys to values')
    .replace(/ to be ([<>])/, ' $1')
    .replace(/ to have >=1 characters$/, ' that is not empty')
    .replace(/^e/, 'E');
}

const flagText = (override: string): string => `--set ${shortened(override)}`;

/** Sets `path.of.key` in `config` and returns the path. */
function applyOverride(config: Record<string, unknown>, override: string): string {
  const file = flagText(override);
  const separator = override.indexOf('=');
  if (separator < 1) throw new ConfigError('Expected path.of.key=value.', { file });
  const path = override.slice(0, separator).trim();
  const names = path.split('.');
  let section = config;
  for (const name of names.slice(0, -1)) {
    const next = (Object.hasOwn(section, name) ? section[name] : undefined) ?? {};
    if (typeof next !== 'object' || Array.isArray(next)) {
      throw new ConfigError(`"${name}" is a value, not a section with keys.`, { file });
    }
    setOwn(section, name, next);
    section = next as Record<string, unknown>;
  }
  setOwn(section, names.at(-1)!, parseYaml(override.slice(separator + 1), { file }, false).value ?? null);
  return path;
}

/** An assignment that makes of `__proto__` a key like any other, to be refused like any other. */
function setOwn(section: object, name: string, value: unknown): void {
  Object.defineProperty(section, name, { value, enumerable: true, writable: true, configurable: true });
}

/** Where the deepest key of `path` that the file holds begins. */
function offsetOf(document: Document, path: Path): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const name of path) {
    if (!isMap(node)) break;
    const pair = node.items.find(
      item => isPair(item) && isScalar(item.key) && String(item.key.value) === name,
    );
    if (pair === undefined) break;
    offset = (pair.key as { range: [number, number, number] }).range[0];
    node = pair.value;
  }
  return offset;
}
