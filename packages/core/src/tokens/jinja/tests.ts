/** The tests of `is`. */
import { bind } from './arguments.js';
import { isLower, isUpper } from './casing.js';
import { compare } from './compare.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { binary } from './operators.js';
import { textOf } from './printing.js';
import {
  type Arguments,
  Callable,
  contains,
  Dict,
  DictView,
  equal,
  Instance,
  iteratorOf,
  lengthOf,
  Markup,
  plain,
  Undefined,
  type Value,
} from './values.js';

type Test = (value: Value, args: Arguments) => boolean;

const simple =
  (name: string, test: (value: Value) => boolean): Test =>
  (value, args) => {
    bind(name, args, []);
    return test(value);
  };

const withOne =
  (name: string, test: (value: Value, other: Value) => boolean): Test =>
  (value, args) =>
    test(value, bind(name, args, ['other'])[0]);

const isInteger = (value: Value): boolean => typeof value === 'bigint';
const isNumber = (value: Value): boolean => ['bigint', 'number', 'boolean'].includes(typeof value);
const equals = withOne('eq', equal);
const differs = withOne('ne', (value, other) => !equal(value, other));
const less = withOne('lt', (value, other) => compare('<', value, other));
const lessOrEqual = withOne('le', (value, other) => compare('<=', value, other));
const greater = withOne('gt', (value, other) => compare('>', value, other));
const greaterOrEqual = withOne('ge', (value, other) => compare('>=', value, other));

const modulo = (value: Value, divisor: Value): Value => binary('%', value, divisor);

function isIterable(value: Value): boolean {
  return (
    value instanceof Markup ||
    iteratorOf(value) !== null ||
    (value instanceof Instance && value.typeName === 'LoopContext')
  );
}

function isSequence(value: Value): boolean {
  if (value instanceof DictView || value instanceof Instance) return false;
  return lengthOf(value) !== undefined;
}

/** Whether the value is the same object: a singleton, or one that was made once. */
function isSame(value: Value, other: Value): boolean {
  if (typeof value === 'object' || typeof value === 'boolean') return value === other;
  if (typeof value !== typeof other) return false;
  throw new UnsupportedConstruct('sameas of numbers or texts, which compares their places in memory');
}

const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['!=', differs],
  ['<', less],
  ['<=', lessOrEqual],
  ['==', equals],
  ['>', greater],
  ['>=', greaterOrEqual],
  ['boolean', simple('boolean', value => typeof value === 'boolean')],
  ['callable', simple('callable', value => value instanceof Callable || value instanceof Undefined)],
  ['defined', simple('defined', value => !(value instanceof Undefined))],
  ['divisibleby', withOne('divisibleby', (value, divisor) => equal(modulo(value, divisor), 0n))],
  ['eq', equals],
  ['equalto', equals],
  ['escaped', simple('escaped', value => value instanceof Markup)],
  ['even', simple('even', value => equal(modulo(value, 2n), 0n))],
  ['false', simple('false', value => value === false)],
  ['float', simple('float', value => typeof value === 'number')],
  ['ge', greaterOrEqual],
  ['greaterthan', greater],
  ['gt', greater],
  ['in', withOne('in', (value, container) => contains(container, value))],
  ['integer', simple('integer', isInteger)],
  ['iterable', simple('iterable', isIterable)],
  ['le', lessOrEqual],
  ['lessthan', less],
  ['lower', simple('lower', value => isLower(textOf(value)))],
  ['lt', less],
  ['mapping', simple('mapping', value => value instanceof Dict)],
  ['ne', differs],
  ['none', simple('none', value => value === null)],
  ['number', simple('number', isNumber)],
  ['odd', simple('odd', value => equal(modulo(value, 2n), 1n))],
  ['sameas', withOne('sameas', isSame)],
  ['sequence', simple('sequence', isSequence)],
  ['string', simple('string', value => typeof plain(value) === 'string')],
  ['true', simple('true', value => value === true)],
  ['undefined', simple('undefined', value => value instanceof Undefined)],
  ['upper', simple('upper', value => isUpper(textOf(value)))],
]);

/** Whether a filter or test is there: it says yes for those that are refused here. */
const REFUSED_TESTS: ReadonlySet<string> = new Set(['filter', 'test']);

/** @throws TemplateFailure when there is none of that name */
export function applyTest(name: string, value: Value, args: Arguments): boolean {
  if (REFUSED_TESTS.has(name)) throw new UnsupportedConstruct(`the test is ${name}`);
  const test = TESTS.get(name);
  if (test === undefined) throw new TemplateFailure(`No test named '${name}'.`);
  return test(value, args);
}
