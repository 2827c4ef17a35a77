/** The comparisons of expressions. */
import type { Comparison } from './tree.js';
import { contains, equal, failIfUndefined, lessThan, same, Tuple, type Value } from './values.js';

export function compare(operator: Comparison, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equal(left, right);
    case '!=':
      return !equal(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '<':
      return lessThan(left, right);
    case '>':
      return lessThan(right, left, '>');
    case '<=':
      return lessOrEqual(left, right, operator);
    case '>=':
      return lessOrEqual(right, left, operator);
  }
}

/** Not simply the opposite of >: nan is neither. */
function lessOrEqual(left: Value, right: Value, operator: string): boolean {
  failIfUndefined(left, right);
  if (typeof left === 'number' || typeof right === 'number') {
    return lessThan(left, right, operator) || equal(left, right);
  }
  const items = (value: Value): readonly Value[] | null =>
    Array.isArray(value) ? value : value instanceof Tuple ? value.items : null;
  const [a, b] = [items(left), items(right)];
  if (a !== null && b !== null && Array.isArray(left) === Array.isArray(right)) {
    const index = a.findIndex((item, at) => at < b.length && !same(item, b[at]));
    return index === -1 ? a.length <= b.length : lessOrEqual(a[index], b[index], operator);
  }
  return !lessThan(right, left, operator);
}
