/**
 * Encoded examples in typed arrays. A chunk holds the tokens of some hundred examples one behind the other, and a row of
 * numbers for each that says where they are: so it costs no more memory than its tokens, a worker hands it over without a
 * copy, and a file holds it as it is. An example is a view into its chunk.
 */
import { hash } from 'node:crypto';
import {
  type EncodedExample,
  type EncodedPair,
  type EncodedSequence,
  sameTokens,
  tokensOf,
} from './encode.js';
import { isPair } from './examples.js';

/** The first bytes of the digest of an example tell it from any other. */
export const DIGEST_BYTES = 8;

export interface Chunk {
  /** Those that the examples name. */
  readonly files: readonly string[];
  /** FACTS numbers an example. */
  readonly facts: Int32Array;
  readonly tokens: Int32Array;
  /** Of sequences: for each token whether it is trained on. Empty for pairs. */
  readonly trained: Uint8Array;
  /** DIGEST_BYTES an example (`exampleDigest`). */
  readonly digests: Uint8Array;
}

/** The numbers of an example. START is where its tokens begin, AUGMENTED where those of its augmented prompt do. */
const FACTS = 11;
const [FILE, ROW, START, PROMPT, CHOSEN, REJECTED, AUGMENTED, AUGMENTED_TOKENS, CUT] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8,
];

export const examplesIn = ({ facts }: { readonly facts: { readonly length: number } }): number =>
  facts.length / FACTS;

/** @param examples all pairs, or all sequences */
export function chunkOf(examples: readonly EncodedExample[]): Chunk {
  const files = [...new Set(examples.map(({ file }) => file))];
  const facts = new Int32Array(examples.length * FACTS);
  const most = examples.reduce(
    (sum, one) => sum + tokensOf(one).reduce((own, ids) => own + ids.length, 0),
    0,
  );
  const tokens = new Int32Array(most);
  const trained = new Uint8Array(examples.some(one => !isPair(one)) ? most : 0);
  const digests = new Uint8Array(examples.length * DIGEST_BYTES);
  let filled = 0;
  for (const [index, example] of examples.entries()) {
    const at = index * FACTS;
    const add = (ids: Int32Array): number => {
      tokens.set(ids, filled);
      filled += ids.length;
      return ids.length;
    };
    facts[at + FILE] = files.indexOf(example.file);
    facts[at + ROW] = example.row;
    facts[at + START] = filled;
    if (isPair(example)) {
      const { prompt, chosen, rejected, augmentedPrompt, cut } = example;
      // Unless p stands inside of it, the augmented prompt is the end of the plain one.
      const shared = prompt.length - augmentedPrompt.length;
      const inside = shared >= 0 && sameTokens(prompt.subarray(shared), augmentedPrompt);
      facts[at + AUGMENTED] = filled + shared;
      facts[at + PROMPT] = add(prompt);
      facts[at + CHOSEN] = add(chosen);
      facts[at + REJECTED] = add(rejected);
      facts[at + AUGMENTED_TOKENS] = augmentedPrompt.length;
      if (!inside) {
        facts[at + AUGMENTED] = filled;
        add(augmentedPrompt);
      }
      facts.set([cut.promptTokens, cut.chosenTokens, cut.rejectedTokens], at + CUT);
    } else {
      trained.set(example.trained, filled);
      facts[at + PROMPT] = add(example.tokens);
      facts.set([example.cut.promptTokens, example.cut.endTokens], at + CUT);
    }
    digests.set(exampleDigest(example), index * DIGEST_BYTES);
  }
  return { files, facts, tokens: tokens.slice(0, filled), trained: trained.slice(0, filled), digests };
}

/** The examples of a chunk. */
export function examplesOf(chunk: Chunk): EncodedExample[] {
  const Stored = chunk.trained.length > 0 ? StoredSequence : StoredPair;
  return Array.from({ length: examplesIn(chunk) }, (_, index) => new Stored(chunk, index * FACTS));
}

/** Of every token of an example, and of which of them are trained on. */
export function exampleDigest(example: EncodedExample): Uint8Array {
  const parts = tokensOf(example);
  const ids = new Int32Array(parts.reduce((sum, { length }) => sum + 1 + length, 0));
  let filled = 0;
  for (const part of parts) {
    ids[filled] = part.length;
    ids.set(part, filled + 1);
    filled += 1 + part.length;
  }
  const bytes = Buffer.from(ids.buffer);
  const all = isPair(example) ? bytes : Buffer.concat([bytes, example.trained]);
  return hash('sha256', all, 'buffer').subarray(0, DIGEST_BYTES);
}

abstract class Stored {
  /** @param at where its numbers begin */
  constructor(
    protected readonly chunk: Chunk,
    private readonly at: number,
  ) {}

  get file(): string {
    return this.chunk.files[this.fact(FILE)]!;
  }

  get row(): number {
    return this.fact(ROW);
  }

  protected fact(which: number): number {
    return this.chunk.facts[this.at + which]!;
  }

  protected ids(start: number, length: number): Int32Array {
    return this.chunk.tokens.subarray(start, start + length);
  }
}

class StoredPair extends Stored implements EncodedPair {
  get prompt(): Int32Array {
    return this.ids(this.fact(START), this.fact(PROMPT));
  }

  get chosen(): Int32Array {
    return this.ids(this.fact(START) + this.fact(PROMPT), this.fact(CHOSEN));
  }

  get rejected(): Int32Array {
    return this.ids(this.fact(START) + this.fact(PROMPT) + this.fact(CHOSEN), this.fact(REJECTED));
  }

  get augmentedPrompt(): Int32Array {
    return this.ids(this.fact(AUGMENTED), this.fact(AUGMENTED_TOKENS));
  }

  get cut(): EncodedPair['cut'] {
    return {
      promptTokens: this.fact(CUT),
      chosenTokens: this.fact(CUT + 1),
      rejectedTokens: this.fact(CUT + 2),
    };
  }
}

class StoredSequence extends Stored implements EncodedSequence {
  get tokens(): Int32Array {
    return this.ids(this.fact(START), this.fact(PROMPT));
  }

  get trained(): Uint8Array {
    return this.chunk.trained.subarray(this.fact(START), this.fact(START) + this.fact(PROMPT));
  }

  get cut(): EncodedSequence['cut'] {
    return { promptTokens: this.fact(CUT), endTokens: this.fact(CUT + 1) };
  }
}
