/** Arguments of functions, methods, filters and tests, bound to their parameters as Python binds them. */
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { type Arguments, failIfUndefined, plain, typeName, type Value } from './values.js';

/**
 * @param parameters their names in order; those that end in '?' may be left out
 * @returns one value a parameter; undefined (JavaScript's) for one that was left out
 * @throws TemplateFailure for one too many, unknown, missing or given twice
 */
export function bind(
  name: string,
  { positional, keyword }: Arguments,
  parameters: readonly string[],
): Value[] {
  const names = parameters.map(parameter => parameter.replace('?', ''));
  if (positional.length > names.length) {
    throw new TemplateFailure(
      `${name}() takes at most ${names.length} arguments (${positional.length} given)`,
    );
  }
  const values: Value[] = names.map((_, index) => positional[index]);
  for (const [key, value] of keyword) {
    const index = names.indexOf(key);
    if (index === -1) throw new TemplateFailure(`${name}() got an unexpected keyword argument '${key}'`);
    if (index < positional.length)
      throw new TemplateFailure(`${name}() got multiple values for argument '${key}'`);
    values[index] = value;
  }
  parameters.forEach((parameter, index) => {
    if (!parameter.endsWith('?') && values[index] === undefined) {
      throw new TemplateFailure(`${name}() missing argument '${parameter}'`);
    }
  });
  return values;
}

/** @throws TemplateFailure when it is not a str */
export function textArgument(name: string, value: Value): string {
  failIfUndefined(value);
  const text = plain(value);
  if (typeof text !== 'string') throw new TemplateFailure(`${name}: str expected, not ${typeName(value)}`);
  return text;
}

/** An int, or the value for one that was left out. @throws TemplateFailure when it is something else */
export function integerArgument(name: string, value: Value, initial?: number): number {
  if (value === undefined && initial !== undefined) return initial;
  failIfUndefined(value);
  if (typeof value === 'boolean') return Number(value);
  if (typeof value !== 'bigint') throw new TemplateFailure(`${name}: int expected, not ${typeName(value)}`);
  if (value > 0x7fffffffn || value < -0x7fffffffn)
    throw new UnsupportedConstruct(`${name} with a number beyond 2^31`);
  return Number(value);
}

/** A flag of Python's own functions, which take no other types for it; off where it was left out. */
export function flagArgument(name: string, value: Value): boolean {
  return integerArgument(name, value, 0) !== 0;
}
