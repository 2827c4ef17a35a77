/** Remembers the tokens of pieces: most words of a text have come before. */

/** Longer pieces, in code units, hardly come twice. */
const CACHED_LENGTH = 64;
/** Of each of the two generations. */
const GENERATION_ENTRIES = 1 << 16;

type Ids = readonly number[];

/**
 * `encode`, which must depend on the piece alone, with a memory of the pieces that came last: when the newer of two
 * generations is full, what was not asked for since the one before began is forgotten.
 */
export function remembered(encode: (piece: string) => Ids): (piece: string) => Ids {
  let newer = new Map<string, Ids>();
  let older = new Map<string, Ids>();
  return piece => {
    if (piece.length > CACHED_LENGTH) return encode(piece);
    const known = newer.get(piece);
    if (known !== undefined) return known;
    const ids = older.get(piece) ?? encode(piece);
    if (newer.size >= GENERATION_ENTRIES) {
      older = newer;
      newer = new Map();
    }
    newer.set(detached(piece), ids);
    return ids;
  };
}

/** A copy: a part of a text would keep all of it in memory. */
const detached = (piece: string): string => Buffer.from(piece, 'utf16le').toString('utf16le');
