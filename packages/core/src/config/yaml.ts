/** YAML of a configuration: one document of plain values, within limits that no configuration needs. */
import { open } from 'node:fs/promises';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';
import { ConfigError, type ErrorDetails } from '../errors.js';

const MAX_BYTES = 2 ** 20;

export interface YamlText {
  readonly document: Document;
  readonly value: unknown;
  /** Where an offset of the text is. */
  readonly position: (offset: number) => ErrorDetails;
}

/** Reads a file as text. @throws ConfigError when that cannot be a configuration: too large, or not UTF-8 */
export async function readYamlFile(file: string): Promise<string> {
  const bytes = await readAtMost(file, MAX_BYTES + 1).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EISDIR') {
      const hint =
        'Give a YAML file. That of a run is config.yaml in its folder; `sralign init` writes one for a model.';
      throw new ConfigError('This is a folder, not a configuration.', { file, hint });
    }
    throw new ConfigError(`The configuration cannot be read (${cause.message}).`, { file, cause });
  });
  if (bytes.length > MAX_BYTES) {
    throw new ConfigError('The file is larger than 1 MiB.', { file, hint: NO_CONFIGURATION });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigError('The file is not text in UTF-8.', { file, hint: NO_CONFIGURATION, cause });
  }
}

const NO_CONFIGURATION = 'A configuration is a short YAML file; data files are named in its data.train.';

/** The length of a pipe or device is not known beforehand. */
async function readAtMost(file: string, bytes: number): Promise<Buffer> {
  await using handle = await open(file);
  const chunks: Buffer[] = [];
  for (let left = bytes; left > 0; ) {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(left, 2 ** 16)));
    if (bytesRead === 0) break;
    chunks.push(buffer.subarray(0, bytesRead));
    left -= bytesRead;
  }
  return Buffer.concat(chunks);
}

/**
 * Parses a text. Keys that stand twice, tags, endless nesting and aliases that multiply are refused.
 *
 * @param where names the text in errors; @param lines whether its position there can be told by line and column
 */
export function parseYaml(source: string, where: ErrorDetails, lines: boolean): YamlText {
  const lineCounter = new LineCounter();
  const position = (offset: number): ErrorDetails => {
    const { line, col } = lineCounter.linePos(offset);
    return lines ? { ...where, row: line, column: col } : where;
  };
  try {
    // The package compares every key with every other one; `checkNodes` does not.
    const document = parseDocument(source, { lineCounter, uniqueKeys: false, logLevel: 'error' });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw invalid(problem.message, position(problem.pos[0]), problem);
    checkNodes(document, position);
    return { document, value: document.toJS(), position };
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    // Reading, visiting and converting all call themselves for what is nested.
    throw invalid((cause as Error).message, where, cause);
  }
}

/** Of YAML's types those that JSON has. */
const PLAIN_TAG = /^tag:yaml\.org,2002:(str|int|float|bool|null|map|seq)$/;

function checkNodes(document: Document, position: YamlText['position']): void {
  visit(document, {
    Node: (_, node) => {
      const where = position(node.range?.[0] ?? 0);
      if (isAlias(node)) return;
      if (node.tag !== undefined && !PLAIN_TAG.test(node.tag))
        throw invalid(`The tag ${node.tag} is not used here.`, where);
      if (isScalar(node) && typeof node.value === 'string' && node.value.includes('\0'))
        throw invalid('A text must not hold the character NUL.', where);
      if (isMap(node)) checkKeys(node, position);
    },
  });
}

function checkKeys({ items }: YAMLMap, position: YamlText['position']): void {
  const seen = new Set<string>();
  for (const { key } of items) {
    const where = position((key as Partial<Node> | null)?.range?.[0] ?? 0);
    if (!isScalar(key)) throw invalid('A key must be a text.', where);
    const name = String(key.value);
    if (seen.has(name)) throw invalid(`The key "${shortened(name)}" stands there twice.`, where);
    seen.add(name);
  }
}

/** @param message of the yaml package, or a sentence of ours */
function invalid(message: string, where: ErrorDetails, cause?: unknown): ConfigError {
  // The package repeats the position, quotes the line and speaks to programmers; its first line says what is wrong.
  const what = message
    .split('\n')[0]!
    .replace(/ at line \d+, column \d+:?$/, '')
    .replace(/; please use .*$/, '')
    .replace('Maximum call stack size exceeded', 'It is nested too deeply')
    .replace('Excessive alias count indicates a resource exhaustion attack', 'It has too many aliases')
    .replace(/\.$/, '');
  return new ConfigError(`This is not valid YAML: ${what}.`, { ...where, cause });
}

/** Whether a document holds keys and values. */
export const isMapping = ({ document }: YamlText): boolean => isMap(document.contents);

/** A text of the user's as an error repeats it. */
export function shortened(text: string): string {
  return text.length <= 120 ? text : `${text.slice(0, 120)}…`;
}
