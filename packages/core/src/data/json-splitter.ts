/** Takes a JSON file apart into the bytes of its records, as the bytes arrive: the elements of an array, or values in a row. */
import { DataError } from '../errors.js';
import { MAX_RECORD_BYTES, tooLong } from './bytes.js';
import { hasMark, isWhite, MARK, MAX_DEPTH, notUtf8, tooDeep } from './json-text.js';

const [QUOTE, COMMA, BACKSLASH] = [0x22, 0x2c, 0x5c];
const [OPENING_BRACKET, CLOSING_BRACKET] = [0x5b, 0x5d];
const [OPENING_BRACE, CLOSING_BRACE] = [0x7b, 0x7d];

const UNWRAP =
  'If the file is one object that holds the list of records, write the list alone: `jq .data FILE > LIST.json`.';

/** The bytes of one record, with the white space around it. */
export interface Element {
  /** 1-based. */
  readonly row: number;
  readonly bytes: Buffer;
}

/** Checks the structure only: a record is parsed by whoever gets it. */
export class JsonSplitter {
  private state: 'before' | 'inside' | 'between' | 'behind' = 'before';
  /** Whether the records are the elements of one array; else they stand in a row, as in JSON lines. */
  inArray = false;
  /** Records that are complete. */
  private row = 0;
  /** The brackets that close what is open, that of the array around the records first. */
  private readonly closing: number[] = [];
  private inString = false;
  private escaped = false;
  /** The open record, as far as it stood in earlier chunks. */
  private pieces: Buffer[] = [];
  private piecesBytes = 0;

  constructor(private readonly file: string) {}

  /** @throws DataError where the bytes are not those of an array, or of objects in a row */
  *push(chunk: Buffer): Generator<Element> {
    let at = this.state === 'inside' ? 0 : this.skipOutside(chunk, 0);
    let start = at;
    while (at < chunk.length) {
      if (this.inString) {
        at = this.skipString(chunk, at);
        continue;
      }
      const byte = chunk[at]!;
      if (byte === QUOTE) {
        this.inString = true;
      } else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) {
        if (this.closing.length > MAX_DEPTH) throw tooDeep(this.file, this.row + 1);
        this.closing.push(byte === OPENING_BRACKET ? CLOSING_BRACKET : CLOSING_BRACE);
      } else if (byte === COMMA && this.inArray && this.closing.length === 1) {
        yield this.element(chunk.subarray(start, at));
        start = at + 1;
      } else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) {
        if (this.closing.pop() !== byte) throw this.invalid('a bracket closes that is not open');
        if (this.closing.length === 0 && !this.inArray) {
          yield this.element(chunk.subarray(start, at + 1));
          this.state = 'between';
          start = this.skipOutside(chunk, at + 1);
          at = start;
          continue;
        }
        if (this.closing.length === 0) {
          const last = this.element(chunk.subarray(start, at));
          // `[ ]` has no element, while what stands behind a comma must be one.
          if (last.row > 1 || last.bytes.length > 0) yield last;
          this.state = 'behind';
          this.skipOutside(chunk, at + 1);
          return;
        }
      }
      at++;
    }
    this.pieces.push(chunk.subarray(start));
    this.piecesBytes += chunk.length - start;
    if (this.piecesBytes > MAX_RECORD_BYTES) {
      const mayHoldAll = !this.inArray && this.row === 0;
      throw tooLong(this.file, this.row + 1, mayHoldAll ? UNWRAP : undefined);
    }
  }

  /** Call it behind the last chunk. @throws DataError when the array or the last record is not complete */
  end(): void {
    if (this.state === 'before') throw this.noRecords();
    if (this.state === 'inside') {
      const what = this.inArray ? 'array' : 'record';
      throw this.invalid(`the ${what} does not end: the file is cut off, or a quote or bracket is missing`);
    }
  }

  /** Behind the string whose inside begins at `at`; the end of the chunk where it goes on. */
  private skipString(chunk: Buffer, at: number): number {
    for (let next = at; next < chunk.length; next++) {
      const byte = chunk[next]!;
      if (this.escaped) this.escaped = false;
      else if (byte === BACKSLASH) this.escaped = true;
      else if (byte === QUOTE) {
        this.inString = false;
        return next + 1;
      }
    }
    return chunk.length;
  }

  private element(rest: Buffer): Element {
    const whole = Buffer.concat([...this.pieces, rest]);
    const begin = whole.findIndex(byte => !isWhite(byte));
    const bytes = whole.subarray(begin === -1 ? whole.length : begin);
    this.pieces = [];
    this.piecesBytes = 0;
    return { row: ++this.row, bytes };
  }

  /** Passes over white space in front of the records, up to the first byte of the next, and behind them. */
  private skipOutside(chunk: Buffer, from: number): number {
    const mark = this.state === 'before' && hasMark(chunk) ? MARK.length : 0;
    for (let at = Math.max(from, mark); at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (isWhite(byte)) continue;
      if (this.state === 'behind') throw this.invalid('there is more behind the array');
      // Bytes of UTF-8 are none of these; UTF-16 begins with them.
      if (byte >= 0xfe) throw notUtf8(chunk, this.file, 1);
      if (byte === OPENING_BRACKET && this.state === 'before') {
        this.inArray = true;
        this.closing.push(CLOSING_BRACKET);
      } else if (byte !== OPENING_BRACE) {
        throw this.state === 'before' ? this.noRecords() : this.invalid('there is more behind the record');
      }
      this.state = 'inside';
      return this.inArray ? at + 1 : at;
    }
    return chunk.length;
  }

  private invalid(what: string): DataError {
    return new DataError(`This is not valid JSON (${what}).`, { file: this.file, row: this.row + 1 });
  }

  private noRecords(): DataError {
    return new DataError('Expected a JSON array of records.', {
      file: this.file,
      hint: 'Records in a row, or one object that holds the array, are read as well.',
    });
  }
}
