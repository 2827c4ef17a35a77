/**
 * Template source to tokens, as jinja2 with trim_blocks and lstrip_blocks cuts it: \r\n and \r are line ends, one line
 * end at the very end is dropped, so are the one behind a block and the white space before it.
 */
import { TemplateSyntaxError, UnsupportedConstruct } from './errors.js';

export type TokenKind =
  | 'text'
  | 'output-begin'
  | 'output-end'
  | 'block-begin'
  | 'block-end'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** The text of a name or operator, the unescaped value of a string, the digits of a number. */
  readonly text: string;
  /** 1-based. */
  readonly line: number;
}

/** White space as Python has it. */
export const WHITE_SPACE =
  '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const OPENING = /\{[%{#]/g;
const RAW_BEGIN = new RegExp(
  `\\{%([-+]?)[${WHITE_SPACE}]*raw[${WHITE_SPACE}]*(?:-%\\}[${WHITE_SPACE}]*|%\\})`,
  'y',
);
const RAW_END = new RegExp(
  `\\{%([-+]?)[${WHITE_SPACE}]*endraw[${WHITE_SPACE}]*(?:\\+%\\}|-%\\}[${WHITE_SPACE}]*|%\\}\\n?)`,
  'g',
);
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}[${WHITE_SPACE}]*|#\\}\\n?`, 'g');
const BLOCK_END = new RegExp(`\\+%\\}|-%\\}[${WHITE_SPACE}]*|%\\}\\n?`, 'y');
const OUTPUT_END = new RegExp(`-\\}\\}[${WHITE_SPACE}]*|\\}\\}`, 'y');
const SPACE = new RegExp(`[${WHITE_SPACE}]+`, 'y');
const SPACE_CHARACTER = new RegExp(`[${WHITE_SPACE}]`);
const ONLY_SPACE = new RegExp(`^[${WHITE_SPACE}]+$`);
const FLOAT = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{N}\p{M}_]+/uy;
const IDENTIFIER = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const STRING = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const OPERATOR = /\/\/|\*\*|[=!<>]=|[-+/*%~[\](){}<>=.:|,;]/y;

const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** @throws TemplateSyntaxError naming the line */
export function tokenize(source: string): Token[] {
  return new Lexer(source.replace(/\r\n?/g, '\n').replace(/\n$/, '')).run();
}

class Lexer {
  private readonly tokens: Token[] = [];
  private position = 0;
  private line = 1;

  constructor(private readonly source: string) {}

  run(): Token[] {
    while (this.position < this.source.length) {
      OPENING.lastIndex = this.position;
      const opening = OPENING.exec(this.source);
      if (opening === null) {
        this.emit('text', this.advance(this.source.length));
        break;
      }
      RAW_BEGIN.lastIndex = opening.index;
      const raw = RAW_BEGIN.exec(this.source);
      if (raw !== null) this.readRaw(opening.index, raw);
      else this.readTag(opening.index, opening[0]);
    }
    this.emit('end', '');
    return this.tokens;
  }

  private readRaw(start: number, begin: RegExpExecArray): void {
    this.readText(start, begin[1]!, true);
    this.advance(start + begin[0].length);
    RAW_END.lastIndex = this.position;
    const end = RAW_END.exec(this.source);
    if (end === null) {
      this.endEarly('raw directive');
      return;
    }
    this.readText(end.index, end[1]!, true);
    this.advance(end.index + end[0].length);
  }

  private readTag(start: number, opening: string): void {
    const mark = /[-+]/.exec(this.source[start + 2] ?? '')?.[0] ?? '';
    this.readText(start, mark, opening !== '{{');
    this.advance(start + 2 + mark.length);
    if (opening === '{#') {
      COMMENT_END.lastIndex = this.position;
      const end = COMMENT_END.exec(this.source);
      if (end === null) {
        this.endEarly('comment tag');
        return;
      }
      this.advance(end.index + end[0].length);
    } else if (opening === '{%') {
      this.emit('block-begin', '');
      this.readCode(BLOCK_END, 'block-end');
    } else {
      this.emit('output-begin', '');
      this.readCode(OUTPUT_END, 'output-end');
    }
  }

  /** jinja2 does not miss the end of what opens at the very end of the template. */
  private endEarly(what: string): void {
    if (this.position < this.source.length) this.fail(`Missing end of ${what}`);
  }

  /** The text up to a tag, without the white space that the tag's sign, or lstrip_blocks, takes away. */
  private readText(end: number, mark: string, isBlock: boolean): void {
    const atLineStart = this.position === 0 || this.source[this.position - 1] === '\n';
    const line = this.line;
    let text = this.advance(end);
    if (mark === '-') {
      text = withoutTrailingSpace(text);
    } else if (mark !== '+' && isBlock) {
      const lastLine = text.lastIndexOf('\n') + 1;
      if ((lastLine > 0 || atLineStart) && ONLY_SPACE.test(text.slice(lastLine)))
        text = text.slice(0, lastLine);
    }
    if (text !== '') this.tokens.push({ kind: 'text', text, line });
  }

  private readCode(end: RegExp, endKind: TokenKind): void {
    const open: string[] = [];
    for (;;) {
      if (this.position >= this.source.length) return;
      if (open.length === 0 && this.match(end) !== null) {
        this.emit(endKind, '');
        return;
      }
      if (this.match(SPACE) !== null) continue;
      const float = this.source[this.position - 1] === '.' ? null : this.match(FLOAT);
      const text = float ?? this.match(INTEGER) ?? this.match(NAME);
      if (text !== null) {
        const kind = float !== null ? 'float' : /^\d/.test(text) ? 'integer' : 'name';
        if (kind === 'name' && !IDENTIFIER.test(text)) this.fail(`Invalid character in identifier "${text}"`);
        this.emit(kind, text);
        continue;
      }
      const string = this.match(STRING);
      if (string !== null) {
        this.emit('string', this.unescape(string.slice(1, -1)));
        continue;
      }
      const operator = this.match(OPERATOR);
      if (operator === null) this.fail(`unexpected char ${JSON.stringify(this.source[this.position])}`);
      const closing = CLOSING[operator];
      if (closing !== undefined) open.push(closing);
      else if (/[)\]}]/.test(operator) && open.pop() !== operator) this.fail(`unexpected '${operator}'`);
      this.emit('operator', operator);
    }
  }

  /** The escapes of a Python string. */
  private unescape(text: string): string {
    return text.replace(
      /\\(?:(\n)|([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/gu,
      (_whole, newline, octal, byte, unit, point, character) => {
        if (newline !== undefined) return '';
        if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
        const hex = byte ?? unit ?? point;
        if (hex !== undefined) {
          const code = Number.parseInt(hex, 16);
          if (code >= 0xd800 && code <= 0xdfff) throw new UnsupportedConstruct('an escape of a surrogate');
          if (code > 0x10ffff) this.fail('illegal Unicode character');
          return String.fromCodePoint(code);
        }
        if (character === 'N') throw new UnsupportedConstruct('an escape \\N{...}');
        if ('xuU'.includes(character)) this.fail(`truncated \\${character} escape`);
        const known: Readonly<Record<string, string>> = {
          '\\': '\\',
          "'": "'",
          '"': '"',
          a: '\x07',
          b: '\b',
          f: '\f',
          n: '\n',
          r: '\r',
          t: '\t',
          v: '\v',
        };
        return known[character] ?? `\\${beyondAscii(character)}`;
      },
    );
  }

  private match(pattern: RegExp): string | null {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.source);
    return found === null ? null : this.advance(this.position + found[0].length);
  }

  private advance(end: number): string {
    const passed = this.source.slice(this.position, end);
    this.position = end;
    for (let at = passed.indexOf('\n'); at !== -1; at = passed.indexOf('\n', at + 1)) this.line++;
    return passed;
  }

  private emit(kind: TokenKind, text: string): void {
    this.tokens.push({ kind, text, line: this.line });
  }

  private fail(message: string): never {
    throw new TemplateSyntaxError(`line ${this.line}: ${message}`);
  }
}

/** A backslash before a character beyond ASCII leaves that character's escape as text: jinja2 decodes it twice. */
function beyondAscii(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x80) return character;
  const hex = code.toString(16);
  if (code < 0x100) return `x${hex}`;
  return code < 0x10000 ? `u${hex.padStart(4, '0')}` : `U${hex.padStart(8, '0')}`;
}

function withoutTrailingSpace(text: string): string {
  let end = text.length;
  while (end > 0 && SPACE_CHARACTER.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}
