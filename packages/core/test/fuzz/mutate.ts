/** Inputs made from other inputs: as bytes, and as JSON trees. The same seed gives the same input. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { bytesOf, type Target, textOf } from './target.js';

export class Random {
  readonly #generator;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    return uniformInt(this.#generator, 0, Math.max(0, end - 1));
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** JSON texts that programs trip over, wherever they stand. */
const NASTY = [
  '0',
  '-1',
  '-0',
  '1.5',
  '1e308',
  '1e999',
  '-1e999',
  '1e-320',
  '9007199254740992',
  '9007199254740993',
  '4294967295',
  '4294967296',
  '2147483647',
  '2147483648',
  '-2147483648',
  '100000000',
  '18446744073709551615',
  'null',
  'true',
  'false',
  '""',
  '[]',
  '{}',
  '[[]]',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udc00"',
  '"__proto__"',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '"constructor"',
  '"../../x"',
  '"NaN"',
  '"Infinity"',
  '"(a+)+$"',
  '"\\\\p{L}{1,1000}"',
  '"%"',
  '"~"',
  '"\\u202e"',
  '[null]',
  '[0,0]',
  '[1e308]',
] as const;

const KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'length',
  '',
  '0',
  '\0',
  '\ud800',
  'hasOwnProperty',
];

const INTERESTING = [0, 1, 9, 10, 13, 34, 44, 58, 91, 92, 93, 123, 125, 127, 128, 0xc0, 0xed, 0xf4, 0xff];

/** One to eight mutations of an input. @param others inputs to splice with */
export function mutate(
  random: Random,
  input: Uint8Array,
  others: readonly Uint8Array[],
  shape: Target['shape'],
): Uint8Array {
  let bytes = input;
  const times = 2 ** random.below(4);
  for (let i = 0; i < times; i++) {
    bytes =
      (shape !== 'bytes' && random.below(3) > 0 ? mutateTree(random, bytes, shape) : null) ??
      mutateBytes(random, bytes, others);
  }
  return bytes;
}

function mutateBytes(random: Random, input: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.from(input);
  const at = random.below(bytes.length + 1);
  const insert = (part: Uint8Array, drop = 0): Uint8Array =>
    Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(Math.min(bytes.length, at + drop))]);
  switch (random.below(9)) {
    case 0:
      if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random.of(INTERESTING);
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return insert(Buffer.alloc(0), 1 + random.below(16));
    case 4: {
      const other = random.of(others);
      const from = random.below(other.length);
      return insert(other.subarray(from, from + random.below(256)), random.below(2) * random.below(64));
    }
    case 5:
      return insert(bytesOf(random.of(NASTY)));
    case 6:
      return swapNumber(random, bytes);
    case 7: {
      const from = random.below(bytes.length);
      return insert(bytes.subarray(from, from + random.below(64)));
    }
    default: {
      const part = bytesOf(
        random.of(['[', '{"a":', '(', '\n', '- ', '{{', '\0', 'é', '\u202e', '{% if x %}', 'a: &a [*a]\n']),
      );
      const repeats = 2 ** random.below(14);
      return insert(Buffer.concat(Array.from({ length: repeats }, () => part)));
    }
  }
}

/** A number in the text, or four or eight bytes of a binary format, becomes another. */
function swapNumber(random: Random, bytes: Buffer): Uint8Array {
  const text = bytes.toString('latin1');
  const numbers = [...text.matchAll(/-?\d+(?:\.\d+)?/g)];
  if (numbers.length > 0 && random.below(4) > 0) {
    const { 0: number, index } = random.of(numbers);
    const other = random.of(NASTY.slice(0, 17));
    return Buffer.from(text.slice(0, index) + other + text.slice(index + number.length), 'latin1');
  }
  if (bytes.length < 8) return bytes;
  const at = random.below(bytes.length - 7);
  bytes.writeBigUInt64LE(
    random.of([0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, BigInt(bytes.length)]),
    at,
  );
  return bytes;
}

/** null where it is not JSON. */
function mutateTree(
  random: Random,
  bytes: Uint8Array,
  shape: 'json' | 'lines' | 'framed',
): Uint8Array | null {
  if (shape === 'lines') {
    const lines = textOf(bytes).split('\n');
    const i = random.below(lines.length);
    const line = mutateJson(random, lines[i]!);
    if (line === null) return null;
    lines[i] = line;
    return bytesOf(lines.join('\n'));
  }
  if (shape === 'json') {
    const text = mutateJson(random, textOf(bytes));
    return text === null ? null : bytesOf(text);
  }
  if (bytes.length < 8) return null;
  const end = 8 + Number(Buffer.from(bytes).readBigUInt64LE());
  const text = end <= bytes.length ? mutateJson(random, textOf(bytes.subarray(8, end))) : null;
  if (text === null) return null;
  const header = bytesOf(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, bytes.subarray(end)]);
}

/** A tree whose leaves are JSON texts, so that repeated keys and numbers of any size can stand in it. */
type Tree = string | { readonly list: Tree[] } | { readonly pairs: [string, Tree][] };

function mutateJson(random: Random, text: string): string | null {
  try {
    return mutateTreeOf(random, toTree(JSON.parse(text)));
  } catch (error) {
    // No JSON, or so deep that this file's own recursion ends.
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
}

function mutateTreeOf(random: Random, tree: Tree): string {
  const holder = { list: [tree] };
  const [parent, index] = random.of(placesOf(holder));
  const replace = (value: Tree): void => {
    if ('list' in parent) parent.list[index] = value;
    else parent.pairs[index]![1] = value;
  };
  const items: unknown[] = 'list' in parent ? parent.list : parent.pairs;
  switch (random.below(8)) {
    case 0:
    case 1:
      replace(random.of(NASTY));
      break;
    case 2:
      if (parent !== holder) items.splice(index, 1);
      break;
    case 3:
      if (parent !== holder) items.splice(random.below(items.length), 0, items[index]);
      break;
    case 4:
      if ('pairs' in parent) parent.pairs[index]![0] = random.of(KEYS);
      else replace(random.of(NASTY));
      break;
    case 5: {
      const [otherParent, other] = random.of(placesOf(holder));
      replace(
        JSON.parse(
          JSON.stringify('list' in otherParent ? otherParent.list[other]! : otherParent.pairs[other]![1]),
        ),
      );
      break;
    }
    case 6: {
      if ('pairs' in parent) parent.pairs.push([random.of(KEYS), random.of(NASTY)]);
      else if (parent !== holder) parent.list.push(random.of(NASTY));
      break;
    }
    default: {
      const depth = 2 ** random.below(14);
      replace(
        random.below(2) === 0
          ? '['.repeat(depth) + ']'.repeat(depth)
          : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`,
      );
    }
  }
  return render(holder.list[0]!);
}

function toTree(value: unknown): Tree {
  if (Array.isArray(value)) return { list: value.map(toTree) };
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return { pairs: Object.entries(value).map(([key, item]) => [key, toTree(item)]) };
}

type Place = readonly [Exclude<Tree, string>, number];

function placesOf(tree: Tree): Place[] {
  if (typeof tree === 'string') return [];
  const children = 'list' in tree ? tree.list : tree.pairs.map(([, value]) => value);
  return children.flatMap((child, i): Place[] => [[tree, i], ...placesOf(child)]);
}

function render(tree: Tree): string {
  if (typeof tree === 'string') return tree;
  if ('list' in tree) return `[${tree.list.map(render).join(',')}]`;
  return `{${tree.pairs.map(([key, value]) => `${JSON.stringify(key)}:${render(value)}`).join(',')}}`;
}
