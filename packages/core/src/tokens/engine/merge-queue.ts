/** A binary heap of merges: the lowest rank first, of equal ranks the leftmost. */
export class MergeQueue {
  /** rank × 2^26 + index, exact in a double for ranks below 2^27. */
  readonly #keys: number[] = [];

  push(rank: number, index: number): void {
    const keys = this.#keys;
    const key = rank * INDEXES + index;
    let at = keys.length;
    keys.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): { rank: number; index: number } | undefined {
    const keys = this.#keys;
    if (keys.length === 0) return undefined;
    const top = keys[0]!;
    const key = keys.pop()!;
    if (keys.length > 0) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= keys.length) break;
        if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child++;
        if (keys[child]! >= key) break;
        keys[at] = keys[child]!;
        at = child;
      }
      keys[at] = key;
    }
    return { rank: Math.floor(top / INDEXES), index: top % INDEXES };
  }
}

const INDEXES = 2 ** 26;
