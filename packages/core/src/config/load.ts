/** A configuration from a YAML file, with `--set` on top, checked; and back to YAML. */
import { type Document, isMap, isNode, isPair, isScalar, isSeq, stringify } from 'yaml';
import { ConfigError, shown } from '../errors.js';
import { isTextThatMayBeEmpty } from './describe.js';
import { allOf, expectation, type Locate, mistakesOf, type Path } from './mistakes.js';
import { type Config, configSchema, findConflicts } from './schema.js';
import { isMapping, parseYaml, readYamlFile, shortened } from './yaml.js';

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
  refuseRecords(source, file);
  const yaml = parseYaml(source, { file }, true);
  const { document, position } = yaml;
  if (!isMapping(yaml)) {
    throw new ConfigError('The configuration is not a mapping of keys to values.', { file });
  }

  const config = yaml.value as Record<string, unknown>;
  const flags = new Map<string, string>();
  const wrongFlags: ConfigError[] = [];
  for (const override of overrides) {
    try {
      flags.set(applyOverride(config, override), override);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      wrongFlags.push(error);
    }
  }
  if (wrongFlags.length > 0) throw allOf(wrongFlags);
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

/** Data given as a configuration would be told of YAML. */
function refuseRecords(source: string, file: string): void {
  const [line = ''] = source.trimStart().split('\n', 1);
  const keys = /\.(csv|tsv)$/i.test(file) ? line.split(/[,\t]/) : keysOfRecord(line);
  if (keys === null || keys.some(key => Object.hasOwn(configSchema.shape, key))) return;
  throw new ConfigError(
    `These are records of data (${shown(keys.map(key => key.trim()))}), not a configuration.`,
    {
      file,
      hint: 'Name the file in data.train of a configuration; `sralign init` writes one.',
    },
  );
}

/** The keys of a line of JSON lines, or of a JSON array of records; null for what is neither. */
function keysOfRecord(line: string): string[] | null {
  const start = line.replace(/^\[\s*(?=\{)/, '').replace(/[\],\s]*$/, '');
  if (!start.startsWith('{')) return null;
  try {
    return Object.keys(JSON.parse(start));
  } catch {
    return null;
  }
}

/** YAML of a complete configuration; reading it gives the same configuration. */
export function stringifyConfig(config: Config): string {
  const header = '# The configuration of a run of sralign, with every default filled in.\n';
  return header + stringify(config, { lineWidth: 0 });
}

function check(value: unknown, locate: Locate): Config {
  const result = configSchema.safeParse(value, { reportInput: true, error: expectation });
  if (!result.success) throw mistakesOf(result.error.issues, locate);
  const conflicts = findConflicts(result.data).map(
    ({ path, message, hint }) => new ConfigError(message, { ...locate(path), hint }),
  );
  if (conflicts.length > 0) throw allOf(conflicts);
  return result.data;
}

const flagText = (override: string): string => `--set ${shortened(override)}`;

/** Sets `path.of.key` in `config` and returns the path. Nothing behind `=` is an empty text where that is a value, else null. */
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
  const source = override.slice(separator + 1);
  const value =
    source === '' && isTextThatMayBeEmpty(path) ? '' : (parseYaml(source, { file }, false).value ?? null);
  setOwn(section, names.at(-1)!, value);
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
    if (isSeq(node)) {
      node = node.items[Number(name)];
      offset = isNode(node) ? (node.range?.[0] ?? offset) : offset;
      continue;
    }
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
