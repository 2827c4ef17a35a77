/** What a parser under test is given and what it does with it. */

export interface Target {
  readonly name: string;
  /** Inputs that mutations start from, beside those of `corpus/<name>/`. */
  readonly seeds: readonly Uint8Array[];
  /** JSON and JSON lines are mutated as trees too; `framed`: JSON behind its length in 8 bytes, as in safetensors. */
  readonly shape: 'bytes' | 'json' | 'lines' | 'framed';
  /** Files that stand beside the input, whole. */
  prepare?(folder: string): Promise<void>;
  /**
   * Reads `input` as the product does; what it throws is judged.
   *
   * @param folder empty but for what `prepare` wrote; the input goes into it where the parser reads a file
   */
  run(input: Uint8Array, folder: string): Promise<unknown>;
  /** Errors of the parser's own that its caller turns into a SralignError. */
  readonly expected?: readonly (abstract new (
    ...args: never[]
  ) => Error)[];
}

export const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'utf8');
export const jsonOf = (value: unknown): Uint8Array => bytesOf(JSON.stringify(value));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
