/** Tokens to expressions: jinja2's grammar, with its precedences. */
import { TemplateSyntaxError, UnsupportedConstruct } from './errors.js';
import type { Token, TokenKind } from './lexer.js';
import type { BinaryOperator, CallArguments, Comparison, Expression, Filter, Slice, Target } from './tree.js';

const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
export const NO_ARGUMENTS: CallArguments = { positional: [], keyword: [], spread: null, keywordSpread: null };

export class ExpressionParser {
  private index = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  /** One expression, or a tuple of several with commas between them. */
  tuple({ conditional = true, explicit = false, end = '' } = {}): Expression {
    const items: Expression[] = [];
    let commas = false;
    while (!this.endsTuple(end)) {
      items.push(conditional ? this.expression() : this.or());
      if (!this.skip('operator', ',')) break;
      commas = true;
    }
    if (!commas && items.length === 1) return items[0]!;
    if (!commas && !explicit) this.fail('Expected an expression');
    return { kind: 'tuple', items };
  }

  expression(): Expression {
    let result = this.or();
    while (this.skip('name', 'if')) {
      const test = this.or();
      const otherwise = this.skip('name', 'else') ? this.expression() : null;
      result = { kind: 'conditional', test, chosen: result, otherwise };
    }
    return result;
  }

  /** What {% set %}, {% for %} and {% with %} assign to. */
  target({ members = false, end = '' } = {}): Target {
    const items: Target[] = [];
    let commas = false;
    while (!this.endsTuple(end) && !this.is('operator', '=')) {
      items.push(this.singleTarget(members));
      if (!this.skip('operator', ',')) break;
      commas = true;
    }
    if (commas) return { kind: 'tuple', items };
    return items[0] ?? this.fail('Expected a name to assign to');
  }

  filter(operand: Expression | null): Filter {
    const name = this.dottedName();
    const args = this.is('operator', '(') ? this.callArguments() : NO_ARGUMENTS;
    return { kind: 'filter', operand, name, args };
  }

  callArguments(): CallArguments {
    const positional: Expression[] = [];
    const keyword: [string, Expression][] = [];
    let spread: Expression | null = null;
    let keywordSpread: Expression | null = null;
    const ensure = (valid: boolean): void => {
      if (!valid) this.fail('invalid syntax for function call expression');
    };
    this.expect('operator', '(');
    while (!this.is('operator', ')')) {
      if (this.skip('operator', '*')) {
        ensure(spread === null && keywordSpread === null);
        spread = this.expression();
      } else if (this.skip('operator', '**')) {
        ensure(keywordSpread === null);
        keywordSpread = this.expression();
      } else if (this.is('name') && this.ahead.kind === 'operator' && this.ahead.text === '=') {
        ensure(keywordSpread === null);
        const name = this.next().text;
        this.next();
        keyword.push([name, this.expression()]);
      } else {
        ensure(spread === null && keywordSpread === null && keyword.length === 0);
        positional.push(this.expression());
      }
      if (!this.skip('operator', ',')) break;
    }
    this.expect('operator', ')');
    return { positional, keyword, spread, keywordSpread };
  }

  get current(): Token {
    return this.tokens[this.index]!;
  }

  private get ahead(): Token {
    return this.tokens[this.index + 1] ?? this.current;
  }

  is(kind: TokenKind, text?: string): boolean {
    return this.current.kind === kind && (text === undefined || this.current.text === text);
  }

  next(): Token {
    const token = this.current;
    if (token.kind !== 'end') this.index++;
    return token;
  }

  skip(kind: TokenKind, text?: string): boolean {
    const matches = this.is(kind, text);
    if (matches) this.next();
    return matches;
  }

  expect(kind: TokenKind, text?: string): Token {
    if (!this.is(kind, text)) this.fail(`expected ${text ?? kind}`);
    return this.next();
  }

  fail(message: string): never {
    const { kind, text, line } = this.current;
    throw new TemplateSyntaxError(
      `line ${line}: ${message}, got ${kind === 'end' ? 'the end' : text || kind}`,
    );
  }

  private endsTuple(end: string): boolean {
    return (
      this.is('output-end') ||
      this.is('block-end') ||
      this.is('operator', ')') ||
      (end !== '' && this.is('name', end))
    );
  }

  private singleTarget(members: boolean): Target {
    if (this.skip('operator', '(')) {
      const inner = this.target({ members });
      this.expect('operator', ')');
      return inner;
    }
    const { text: name } = this.expect('name');
    if (CONSTANTS.has(name)) this.fail(`can't assign to '${name}'`);
    if (members && this.skip('operator', '.')) {
      return { kind: 'member', object: name, name: this.expect('name').text };
    }
    return { kind: 'name', name };
  }

  private or(): Expression {
    let left = this.and();
    while (this.skip('name', 'or')) left = { kind: 'or', left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skip('name', 'and')) left = { kind: 'and', left, right: this.not() };
    return left;
  }

  private not(): Expression {
    return this.skip('name', 'not') ? { kind: 'not', operand: this.not() } : this.comparison();
  }

  private comparison(): Expression {
    const first = this.sum();
    const rest: [Comparison, Expression][] = [];
    for (;;) {
      if (this.is('operator') && COMPARISONS.has(this.current.text)) {
        const operator = this.next().text as Comparison;
        rest.push([operator, this.sum()]);
      } else if (this.skip('name', 'in')) {
        rest.push(['in', this.sum()]);
      } else if (this.is('name', 'not') && this.ahead.kind === 'name' && this.ahead.text === 'in') {
        this.next();
        this.next();
        rest.push(['not in', this.sum()]);
      } else {
        return rest.length === 0 ? first : { kind: 'compare', first, rest };
      }
    }
  }

  private sum(): Expression {
    return this.binary(['+', '-'], () => this.concat());
  }

  private concat(): Expression {
    const items = [this.product()];
    while (this.skip('operator', '~')) items.push(this.product());
    return items.length === 1 ? items[0]! : { kind: 'concat', items };
  }

  private product(): Expression {
    return this.binary(['*', '/', '//', '%'], () => this.binary(['**'], () => this.unary()));
  }

  private binary(operators: readonly BinaryOperator[], operand: () => Expression): Expression {
    let left = operand();
    while (this.is('operator') && operators.includes(this.current.text as BinaryOperator)) {
      const operator = this.next().text as BinaryOperator;
      left = { kind: 'binary', operator, left, right: operand() };
    }
    return left;
  }

  private unary(withFilters = true): Expression {
    let result: Expression;
    if (this.skip('operator', '-')) result = { kind: 'negative', operand: this.unary(false) };
    else if (this.skip('operator', '+')) result = { kind: 'positive', operand: this.unary(false) };
    else result = this.primary();
    result = this.postfix(result);
    return withFilters ? this.filtersAndTests(result) : result;
  }

  private primary(): Expression {
    const token = this.current;
    if (token.kind === 'name') {
      this.next();
      const constant = CONSTANTS.get(token.text);
      return constant === undefined
        ? { kind: 'name', name: token.text }
        : { kind: 'constant', value: constant };
    }
    if (token.kind === 'string') {
      let value = '';
      while (this.is('string')) value += this.next().text;
      return { kind: 'constant', value };
    }
    if (token.kind === 'integer') {
      if (token.text.length > 4000) this.fail('a shorter integer');
      return { kind: 'constant', value: BigInt(this.next().text.replaceAll('_', '')) };
    }
    if (token.kind === 'float') {
      return { kind: 'constant', value: Number(this.next().text.replaceAll('_', '')) };
    }
    if (this.skip('operator', '(')) {
      const inner = this.tuple({ explicit: true });
      this.expect('operator', ')');
      return inner;
    }
    if (this.skip('operator', '[')) return { kind: 'list', items: this.items(']', () => this.expression()) };
    if (this.skip('operator', '{')) {
      const pair = (): [Expression, Expression] => {
        const key = this.expression();
        this.expect('operator', ':');
        return [key, this.expression()];
      };
      return { kind: 'dict', items: this.items('}', pair) };
    }
    return this.fail('expected an expression');
  }

  private items<T>(closing: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.is('operator', closing)) {
      items.push(item());
      if (!this.skip('operator', ',')) break;
    }
    this.expect('operator', closing);
    return items;
  }

  private postfix(operand: Expression): Expression {
    let result = operand;
    for (;;) {
      if (this.skip('operator', '.')) result = this.attribute(result);
      else if (this.skip('operator', '[')) result = this.subscript(result);
      else if (this.is('operator', '('))
        result = { kind: 'call', callee: result, args: this.callArguments() };
      else return result;
    }
  }

  private attribute(object: Expression): Expression {
    if (this.is('integer')) {
      return { kind: 'item', object, index: { kind: 'constant', value: BigInt(this.next().text) } };
    }
    return { kind: 'attribute', object, name: this.expect('name').text };
  }

  private subscript(object: Expression): Expression {
    const optional = (): Expression | null =>
      this.is('operator', ':') || this.is('operator', ']') || this.is('operator', ',')
        ? null
        : this.expression();
    const start = optional();
    let result: Expression;
    if (this.skip('operator', ':')) {
      const stop = optional();
      const slice: Slice = { start, stop, step: this.skip('operator', ':') ? optional() : null };
      result = { kind: 'slice', object, slice };
    } else {
      result = { kind: 'item', object, index: start ?? this.fail('expected a subscript') };
    }
    if (this.is('operator', ',')) throw new UnsupportedConstruct('a subscript with a comma');
    this.expect('operator', ']');
    return result;
  }

  private filtersAndTests(operand: Expression): Expression {
    let result = operand;
    for (;;) {
      if (this.skip('operator', '|')) result = this.filter(result);
      else if (this.skip('name', 'is')) result = this.test(result);
      else if (this.is('operator', '('))
        result = { kind: 'call', callee: result, args: this.callArguments() };
      else return result;
    }
  }

  private test(operand: Expression): Expression {
    const negated = this.skip('name', 'not');
    const name = this.dottedName();
    let args = NO_ARGUMENTS;
    if (this.is('operator', '(')) {
      args = this.callArguments();
    } else if (this.startsArgument()) {
      if (this.is('name', 'is')) this.fail('You cannot chain multiple tests with is');
      args = { ...NO_ARGUMENTS, positional: [this.postfix(this.primary())] };
    }
    const test: Expression = { kind: 'test', operand, name, args };
    return negated ? { kind: 'not', operand: test } : test;
  }

  /** Whether the argument of a test follows without parentheses: `is divisibleby 3`. */
  private startsArgument(): boolean {
    const { kind, text } = this.current;
    if (kind === 'name') return !['else', 'or', 'and'].includes(text);
    if (kind === 'operator') return text === '[' || text === '{';
    return kind === 'string' || kind === 'integer' || kind === 'float';
  }

  private dottedName(): string {
    let { text: name } = this.expect('name');
    while (this.skip('operator', '.')) name += `.${this.expect('name').text}`;
    return name;
  }
}
