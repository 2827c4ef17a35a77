/** Numbers by pairs of ids: a hash table in typed arrays, several times as fast as a Map, whose keys would be fractions. */
export class PairTable {
  readonly #mask: number;
  /** left, right, value, in the first free place behind that of the hash; left is -1 where there is nothing. */
  readonly #slots: Int32Array;

  /** @param capacity pairs at most */
  constructor(capacity: number) {
    const places = 2 ** Math.ceil(Math.log2(2 * capacity + 2));
    this.#mask = places - 1;
    this.#slots = new Int32Array(3 * places).fill(-1);
  }

  /** @param value at least 0; replaces an earlier one */
  set(left: number, right: number, value: number): void {
    const at = this.#find(left, right);
    this.#slots[at] = left;
    this.#slots[at + 1] = right;
    this.#slots[at + 2] = value;
  }

  /** The value of a pair; -1 where it has none. */
  get(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 2]!;
  }

  /** Where the pair stands, or would stand. */
  #find(left: number, right: number): number {
    const slots = this.#slots;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let place = hash & this.#mask; ; place = (place + 1) & this.#mask) {
      const at = 3 * place;
      if (slots[at] === -1 || (slots[at] === left && slots[at + 1] === right)) return at;
    }
  }
}
