/** Values of expressions. */
import { attributeOf, itemOf } from './attributes.js';
import { spend, spendOnNewText } from './budget.js';
import { compare } from './compare.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { applyFilter } from './filters.js';
import { binary, sign } from './operators.js';
import { textOf } from './printing.js';
import type { Scope } from './scope.js';
import { sliceOf } from './slices.js';
import { applyTest } from './tests.js';
import type { CallArguments, Expression, Slice } from './tree.js';
import {
  type Arguments,
  Callable,
  Dict,
  failIfUndefined,
  isTrue,
  iterate,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

export type Evaluate = typeof evaluate;

/** @throws TemplateFailure where jinja2 fails; UnsupportedConstruct; BudgetExceeded */
export function evaluate(expression: Expression, scope: Scope): Value {
  spend(1);
  switch (expression.kind) {
    case 'constant':
      return expression.value;
    case 'name':
      return scope.get(expression.name);
    case 'list':
      return evaluateAll(expression.items, scope);
    case 'tuple':
      return new Tuple(evaluateAll(expression.items, scope));
    case 'dict':
      return new Dict(
        expression.items.map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)] as const),
      );
    case 'concat':
      return concatenate(evaluateAll(expression.items, scope));
    case 'attribute':
      return attributeOf(evaluate(expression.object, scope), expression.name);
    case 'item':
      return itemOf(evaluate(expression.object, scope), evaluate(expression.index, scope));
    case 'slice':
      return slice(evaluate(expression.object, scope), expression.slice, scope);
    case 'call':
      return call(evaluate(expression.callee, scope), evaluateArguments(expression.args, scope));
    case 'filter': {
      const operand = evaluate(expression.operand!, scope);
      return applyFilter(expression.name, operand, evaluateArguments(expression.args, scope));
    }
    case 'test': {
      const operand = evaluate(expression.operand, scope);
      return applyTest(expression.name, operand, evaluateArguments(expression.args, scope));
    }
    case 'not':
      return !isTrue(evaluate(expression.operand, scope));
    case 'negative':
    case 'positive':
      return sign(evaluate(expression.operand, scope), expression.kind === 'negative');
    case 'and': {
      const left = evaluate(expression.left, scope);
      return isTrue(left) ? evaluate(expression.right, scope) : left;
    }
    case 'or': {
      const left = evaluate(expression.left, scope);
      return isTrue(left) ? left : evaluate(expression.right, scope);
    }
    case 'binary':
      return binary(expression.operator, evaluate(expression.left, scope), evaluate(expression.right, scope));
    case 'compare':
      return compareAll(expression, scope);
    case 'conditional':
      if (isTrue(evaluate(expression.test, scope))) return evaluate(expression.chosen, scope);
      return expression.otherwise === null
        ? new Undefined('the inline if-expression evaluated to false and no else section was defined.')
        : evaluate(expression.otherwise, scope);
  }
}

function evaluateAll(expressions: readonly Expression[], scope: Scope): Value[] {
  spend(expressions.length * 8);
  return expressions.map(item => evaluate(item, scope));
}

export function evaluateArguments(args: CallArguments, scope: Scope): Arguments {
  const positional = args.positional.map(item => evaluate(item, scope));
  const keyword = new Map(args.keyword.map(([name, value]) => [name, evaluate(value, scope)] as const));
  if (args.spread !== null) for (const item of iterate(evaluate(args.spread, scope))) positional.push(item);
  if (args.keywordSpread !== null) {
    const spread = evaluate(args.keywordSpread, scope);
    if (!(spread instanceof Dict)) throw new TemplateFailure('argument after ** must be a mapping');
    for (const [name, value] of spread.items()) {
      if (typeof name !== 'string') throw new TemplateFailure('keywords must be strings');
      if (keyword.has(name)) throw new TemplateFailure(`got multiple values for keyword argument '${name}'`);
      keyword.set(name, value);
    }
  }
  return { positional, keyword };
}

export function call(callee: Value, args: Arguments): Value {
  failIfUndefined(callee);
  if (!(callee instanceof Callable))
    throw new TemplateFailure(`'${typeName(callee)}' object is not callable`);
  return callee.call(args);
}

/** ~, which does not escape, other than + does. */
function concatenate(values: readonly Value[]): string {
  const text = values.map(textOf).join('');
  spendOnNewText(text.length);
  return text;
}

function compareAll(expression: Expression & { readonly kind: 'compare' }, scope: Scope): boolean {
  let left = evaluate(expression.first, scope);
  for (const [operator, operand] of expression.rest) {
    const right = evaluate(operand, scope);
    if (!compare(operator, left, right)) return false;
    left = right;
  }
  return true;
}

function slice(object: Value, bounds: Slice, scope: Scope): Value {
  failIfUndefined(object);
  const [start, stop, step] = [bounds.start, bounds.stop, bounds.step].map(bound => {
    const value = bound === null ? null : evaluate(bound, scope);
    if (typeof value === 'boolean') return BigInt(value);
    if (value === null || typeof value === 'bigint') return value;
    throw new UnsupportedConstruct(`a slice by a ${typeName(value)}`);
  });
  const part = sliceOf(object, { start: start!, stop: stop!, step: step! });
  // jinja2 fails or gives undefined, depending on whether the compiler sees that the object is a constant.
  if (part === undefined) throw new UnsupportedConstruct(`a slice of a ${typeName(object)}`);
  return part;
}
