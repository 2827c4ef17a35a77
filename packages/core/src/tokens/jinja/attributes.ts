/** object.name and object[index], by the rules of jinja2's sandbox. */
import { bind, integerArgument } from './arguments.js';
import { spendOnNewItems } from './budget.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { formatBraces } from './format.js';
import { representation } from './printing.js';
import { itemAt } from './slices.js';
import { textMethod } from './string-methods.js';
import {
  type Arguments,
  Callable,
  Dict,
  DictView,
  failIfUndefined,
  Instance,
  Lazy,
  Markup,
  Range,
  same,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Methods that change what they belong to: the sandbox hides them. */
const UNSAFE: Readonly<Record<string, readonly string[]>> = {
  dict: ['clear', 'pop', 'popitem', 'setdefault', 'update'],
  list: ['append', 'clear', 'pop', 'reverse', 'insert', 'sort', 'extend', 'remove'],
};

/** Attributes that Python has and a chat template has no use for. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  dict: ['fromkeys'],
  int: [
    'real',
    'imag',
    'numerator',
    'denominator',
    'bit_length',
    'bit_count',
    'conjugate',
    'to_bytes',
    'from_bytes',
    'as_integer_ratio',
    'is_integer',
  ],
  float: ['real', 'imag', 'hex', 'fromhex', 'is_integer', 'as_integer_ratio', 'conjugate'],
  dict_keys: ['mapping', 'isdisjoint'],
  dict_values: ['mapping'],
  dict_items: ['mapping', 'isdisjoint'],
  generator: ['send', 'throw', 'close', 'gi_frame', 'gi_code', 'gi_running', 'gi_yieldfrom', 'gi_suspended'],
};

/** object.name: the attribute, or else the item of that name, or else undefined. */
export function attributeOf(object: Value, name: string): Value {
  const attribute = pythonAttribute(object, name);
  if (attribute !== undefined) return attribute;
  const item = itemOrNothing(object, name);
  return item === undefined ? missing(object, name) : item;
}

/** object[index]: the item, or else the attribute of that name, or else undefined. */
export function itemOf(object: Value, index: Value): Value {
  failIfUndefined(object);
  const item = itemOrNothing(object, index);
  if (item !== undefined) return item;
  const attribute = typeof index === 'string' ? pythonAttribute(object, index) : undefined;
  return attribute === undefined ? missing(object, index) : attribute;
}

const LOOKUP = { attribute: attributeOf, item: itemOf };

/** |attr(name): the attribute alone. */
export function attributeOnly(object: Value, name: string): Value {
  const attribute = pythonAttribute(object, name);
  return attribute === undefined ? missing(object, name) : attribute;
}

function missing(object: Value, name: Value): Undefined {
  const owner = object instanceof Dict ? 'dict object' : `${typeName(object)} object`;
  return new Undefined(
    typeof name === 'string'
      ? `'${owner}' has no attribute ${representation(name)}`
      : `${owner} has no element ${safeText(name)}`,
  );
}

const safeText = (value: Value): string =>
  typeof value === 'bigint' || typeof value === 'number' ? String(value) : typeName(value);

function itemOrNothing(object: Value, index: Value): Value {
  if (object instanceof Dict) {
    const hashable = !(Array.isArray(index) || index instanceof Dict);
    return hashable ? object.get(index) : undefined;
  }
  if (object instanceof Markup) throw new UnsupportedConstruct('an item of the result of |safe or |escape');
  if (typeof index === 'bigint') return itemAt(object, index);
  return typeof index === 'boolean' ? itemAt(object, index ? 1n : 0n) : undefined;
}

/** getattr(); undefined (JavaScript's) where Python raises AttributeError. */
function pythonAttribute(object: Value, name: string): Value {
  failIfUndefined(object);
  if (name.startsWith('__')) throw new UnsupportedConstruct(`the attribute ${name}`);
  const type = typeName(object);
  if (UNSAFE[type]?.includes(name)) {
    return new Undefined(`access to attribute '${name}' of '${type}' object is unsafe.`);
  }
  if (REFUSED[type === 'bool' ? 'int' : type]?.includes(name)) {
    throw new UnsupportedConstruct(`the attribute .${name} of a ${type}`);
  }
  if (typeof object === 'string') {
    if (name === 'format') return new Callable(name, args => formatBraces(object, args, LOOKUP));
    const method = textMethod(name);
    return method === null ? undefined : new Callable(name, args => method(object, args));
  }
  if (object instanceof Markup) {
    if (textMethod(name) === null) return undefined;
    throw new UnsupportedConstruct(`the method .${name}() of the result of |safe or |escape`);
  }
  if (object instanceof Instance) return object.attribute(name);
  if (object instanceof Dict) return dictMethod(object, name);
  if (object instanceof Lazy || object instanceof DictView) return undefined;
  if (object instanceof Range) return rangeAttribute(object, name);
  if (object instanceof Tuple && object.names.includes(name)) return object.items[object.names.indexOf(name)];
  if (Array.isArray(object)) return listMethod(object, name, true);
  return object instanceof Tuple ? listMethod(object.items, name, false) : undefined;
}

function method(name: string, parameters: readonly string[], call: (...values: Value[]) => Value): Callable {
  return new Callable(name, (args: Arguments) => {
    if (args.keyword.size > 0) throw new TemplateFailure(`${name}() takes no keyword arguments`);
    return call(...bind(name, args, parameters));
  });
}

function dictMethod(dict: Dict, name: string): Value {
  switch (name) {
    case 'get':
      return method(name, ['key', 'default?'], (key, initial) => {
        const value = dict.get(key);
        if (value !== undefined) return value;
        return initial === undefined ? null : initial;
      });
    case 'keys':
    case 'values':
    case 'items':
      return method(name, [], () => new DictView(name, dict));
    case 'copy':
      return method(name, [], () => {
        spendOnNewItems(dict.size);
        return new Dict(dict.items());
      });
    default:
      return undefined;
  }
}

function listMethod(items: readonly Value[], name: string, isList: boolean): Value {
  if (name === 'count') {
    return method(name, ['value'], value => {
      spendOnNewItems(items.length / 8);
      return BigInt(items.filter(item => same(item, value)).length);
    });
  }
  if (name === 'index') {
    return method(name, ['value', 'start?', 'stop?'], (value, start, stop) => {
      const bound = (index: Value, initial: number): number => {
        const position = integerArgument('index', index, initial);
        return position < 0 ? Math.max(0, position + items.length) : position;
      };
      spendOnNewItems(items.length / 8);
      const end = bound(stop, items.length);
      for (let index = bound(start, 0); index < Math.min(end, items.length); index++) {
        if (same(items[index], value)) return BigInt(index);
      }
      throw new TemplateFailure('the value is not in the list');
    });
  }
  if (name === 'copy' && isList) {
    return method(name, [], () => {
      spendOnNewItems(items.length);
      return [...items];
    });
  }
  return undefined;
}

function rangeAttribute(range: Range, name: string): Value {
  if (name === 'start' || name === 'stop' || name === 'step') return range[name];
  if (name === 'count' || name === 'index')
    throw new UnsupportedConstruct(`the attribute .${name} of a range`);
  return undefined;
}
