/** + - * / // % ** and the signs, as Python computes them. */
import { spend, spendOnNewItems, spendOnNewText } from './budget.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { escapeHtml } from './escape.js';
import { formatPercent } from './format.js';
import type { BinaryOperator } from './tree.js';
import { failIfUndefined, Markup, Tuple, typeName, type Value } from './values.js';

type Numeric = boolean | bigint | number;

const isNumeric = (value: Value): value is Numeric =>
  typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean';

/** @throws TemplateFailure for types that do not have the operator */
export function binary(operator: BinaryOperator, left: Value, right: Value): Value {
  if (operator === '%' && typeof left === 'string') return formatPercent(left, right);
  failIfUndefined(left, right);
  if (isNumeric(left) && isNumeric(right)) return arithmetic(operator, left, right);
  if (operator === '*') {
    const product = repeat(left, right) ?? repeat(right, left);
    if (product !== undefined) return product;
  }
  if (operator === '+') {
    const sum = concatenate(left, right);
    if (sum !== undefined) return sum;
  }
  if (left instanceof Markup || right instanceof Markup) {
    throw new UnsupportedConstruct(`the operator ${operator} on the result of |safe or |escape`);
  }
  throw new TemplateFailure(
    `unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );
}

function concatenate(left: Value, right: Value): Value {
  if (typeof left === 'string' && typeof right === 'string') {
    spendOnNewText(left.length + right.length);
    return left + right;
  }
  if (left instanceof Markup || right instanceof Markup) {
    if (
      typeof left === 'string' ||
      typeof right === 'string' ||
      (left instanceof Markup && right instanceof Markup)
    ) {
      const [a, b] = [escapeHtml(left), escapeHtml(right)];
      spendOnNewText(a.length + b.length);
      return new Markup(a + b);
    }
  }
  if (Array.isArray(left) && Array.isArray(right)) {
    spendOnNewItems(left.length + right.length);
    return [...left, ...right];
  }
  if (left instanceof Tuple && right instanceof Tuple) {
    spendOnNewItems(left.items.length + right.items.length);
    return new Tuple([...left.items, ...right.items]);
  }
  return undefined;
}

/** sequence * count; undefined (JavaScript's) for other types */
function repeat(sequence: Value, count: Value): Value {
  if (typeof count !== 'bigint' && typeof count !== 'boolean') return undefined;
  const times = Math.max(0, Number(count));
  if (typeof sequence === 'string') {
    spendOnNewText(sequence.length * times);
    return sequence.repeat(sequence === '' ? 0 : times);
  }
  const items = sequence instanceof Tuple ? sequence.items : sequence;
  if (!Array.isArray(items)) return undefined;
  spendOnNewItems(items.length * times);
  const repeated = items.length === 0 ? [] : Array.from({ length: times }, () => items as Value[]).flat();
  return sequence instanceof Tuple ? new Tuple(repeated) : repeated;
}

function arithmetic(operator: BinaryOperator, left: Numeric, right: Numeric): Value {
  if (typeof left !== 'number' && typeof right !== 'number') {
    return onIntegers(operator, BigInt(left), BigInt(right));
  }
  return onFloats(operator, toFloat(left), toFloat(right));
}

function toFloat(value: Numeric): number {
  const float = Number(value);
  if (typeof value === 'bigint' && !Number.isFinite(float))
    throw new TemplateFailure('int too large to convert to float');
  return float;
}

function onIntegers(operator: BinaryOperator, left: bigint, right: bigint): Value {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      spendOnDigits(digits(left) + digits(right));
      return left * right;
    case '/':
      checkDivisor(right);
      if (!isExact(left) || !isExact(right))
        throw new UnsupportedConstruct('a division of integers beyond 2^53');
      return Number(left) / Number(right);
    case '//':
      checkDivisor(right);
      return (left - floorModulo(left, right)) / right;
    case '%':
      checkDivisor(right);
      return floorModulo(left, right);
    case '**':
      return power(left, right);
  }
}

function power(base: bigint, exponent: bigint): Value {
  const size = exponent < 0n ? -exponent : exponent;
  if (base !== 0n && base !== 1n && base !== -1n) {
    if (size > 100_000n) throw new UnsupportedConstruct('a power with an exponent beyond 100000');
    spendOnDigits(digits(base) * Number(size));
  }
  if (exponent >= 0n) return base ** exponent;
  checkDivisor(base);
  const whole = base ** size;
  if (!isExact(whole)) throw new UnsupportedConstruct('a power of integers beyond 2^53');
  return 1 / Number(whole);
}

function floorModulo(left: bigint, right: bigint): bigint {
  const rest = left % right;
  return rest !== 0n && rest < 0n !== right < 0n ? rest + right : rest;
}

const isExact = (value: bigint): boolean =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);

/** About the decimal digits of a number, in a time that does not grow with it. */
const digits = (value: bigint): number => (isExact(value) ? 16 : value.toString(16).length);

function spendOnDigits(count: number): void {
  spend((count / 64) ** 1.6);
  spendOnNewText(count);
}

function checkDivisor(divisor: bigint | number): void {
  if (Number(divisor) === 0) throw new TemplateFailure('division by zero');
}

function onFloats(operator: BinaryOperator, left: number, right: number): Value {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      checkDivisor(right);
      return left / right;
    case '//':
      checkDivisor(right);
      return floorDivide(left, right);
    case '%':
      checkDivisor(right);
      return floatModulo(left, right);
    case '**':
      return floatPower(left, right);
  }
}

function floatModulo(left: number, right: number): number {
  const rest = left % right;
  if (rest === 0) return right < 0 ? -0 : 0;
  return rest < 0 !== right < 0 ? rest + right : rest;
}

function floorDivide(left: number, right: number): number {
  const quotient = (left - floatModulo(left, right)) / right;
  if (quotient === 0) return left / right < 0 ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

/** Powers whose value is a float exactly, or a square root, which is rounded the same everywhere. */
function floatPower(base: number, exponent: number): number {
  if (exponent === 0.5 && base >= 0) return Math.sqrt(base);
  const result = base ** exponent;
  const exact = Number.isInteger(base) && Number.isInteger(exponent) && exponent >= 0;
  if (exact && Math.abs(result) <= Number.MAX_SAFE_INTEGER) return result;
  throw new UnsupportedConstruct('a power of floats that is not a whole number');
}

export function sign(value: Value, negative: boolean): Value {
  failIfUndefined(value);
  if (typeof value === 'number') return negative ? -value : value;
  if (typeof value === 'bigint' || typeof value === 'boolean')
    return negative ? -BigInt(value) : BigInt(value);
  throw new TemplateFailure(`bad operand type for unary ${negative ? '-' : '+'}: '${typeName(value)}'`);
}
