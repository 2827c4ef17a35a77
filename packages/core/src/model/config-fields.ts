/** Typed access to the keys of a `config.json`, with errors that name the key. */
import { ModelError, shown } from '../errors.js';

/** Sizes and numbers of tokens: what the engine's 32-bit indices hold. */
const LARGEST_COUNT = 2 ** 31 - 1;

/** A rotary table has two numbers per position and rotated pair: 0.5 GB with heads of 128. */
const MOST_POSITIONS = 2 ** 20;

export class ConfigFields {
  private readonly values: Readonly<Record<string, unknown>>;

  /** @throws ModelError when `config` is not an object; so do all methods, for a value that does not fit */
  constructor(
    config: unknown,
    readonly file: string,
  ) {
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new ModelError('The model configuration is not a JSON object.', { file });
    }
    this.values = config as Record<string, unknown>;
  }

  get(key: string): unknown {
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined;
  }

  text(key: string): string {
    const value = this.get(key);
    return typeof value === 'string' ? value : this.fail(key, 'must be a string', value);
  }

  /** A number above 0, or undefined where the key is absent or null. */
  positive(key: string): number | undefined {
    return this.positiveValue(key, this.get(key));
  }

  /** The same of a value inside the key's object. */
  positiveValue(key: string, value: unknown): number | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    return this.fail(key, 'must be a positive number', value);
  }

  /** A positive integer. @param byDefault what an absent key means; undefined where it is needed */
  count(key: string, byDefault?: number): number {
    return this.countValue(key, this.get(key) ?? byDefault);
  }

  /** A positive integer, or null. @param absent what an absent key means */
  optionalCount(key: string, absent: number | null): number | null {
    const value = this.get(key);
    if (value === undefined) return absent;
    return value === null ? null : this.countValue(key, value);
  }

  /** max_position_embeddings. */
  positions(byDefault: number): number {
    const key = 'max_position_embeddings';
    const value = this.count(key, byDefault);
    if (value <= MOST_POSITIONS) return value;
    return this.fail(key, `must be at most ${MOST_POSITIONS}: lower it to the lengths you train on`, value);
  }

  flag(key: string, byDefault: boolean): boolean {
    const value = this.get(key) ?? byDefault;
    return typeof value === 'boolean' ? value : this.fail(key, 'must be true or false', value);
  }

  choice<T>(key: string, choices: Readonly<Record<string, T>>, byDefault: string): T {
    const name = this.get(key) ?? byDefault;
    if (typeof name === 'string' && Object.hasOwn(choices, name)) return choices[name]!;
    return this.fail(key, `must be one of ${Object.keys(choices).join(', ')}`, name);
  }

  divide(key: string, value: number, byKey: string, by: number): number {
    if (value % by !== 0) this.fail(key, `must be a multiple of ${byKey} (${by})`, value);
    return value / by;
  }

  /** undefined where the key is absent or null. */
  object(key: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.get(key);
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) return this.fail(key, 'must be an object', value);
    return value as Record<string, unknown>;
  }

  fail(key: string, requirement: string, value: unknown): never {
    const got = value === undefined ? 'it is missing' : `got ${shown(value, 80)}`;
    throw new ModelError(`${key} ${requirement}; ${got}.`, { file: this.file, field: key });
  }

  private countValue(key: string, value: unknown): number {
    const fits = typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= LARGEST_COUNT;
    return fits ? value : this.fail(key, 'must be a positive integer', value);
  }
}
