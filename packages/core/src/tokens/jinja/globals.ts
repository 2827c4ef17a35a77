/** The functions that every chat template sees: jinja2's and those that transformers adds. */
import { bind, textArgument } from './arguments.js';
import { TemplateFailure, UnsupportedConstruct } from './errors.js';
import { representation, textOf } from './printing.js';
import { Scope } from './scope.js';
import { formatDate } from './strftime.js';
import {
  type Arguments,
  Callable,
  Dict,
  failIfUndefined,
  Instance,
  iterate,
  listOf,
  Namespace,
  Range,
  Tuple,
  typeName,
  type Value,
} from './values.js';

/** Of jinja2's sandbox. */
const MAX_RANGE = 100_000;

/** @param now what `strftime_now` tells */
export function globalScope(now: Date): Scope {
  const scope = new Scope(null);
  const define = (name: string, call: (args: Arguments) => Value): void =>
    scope.set(name, new Callable(name, call));
  define('range', range);
  define('dict', toDict);
  define('namespace', namespace);
  define('cycler', args => new Cycler(args.positional));
  define('joiner', args => new Joiner(bind('joiner', args, ['sep?'])[0]));
  define('raise_exception', args => {
    throw new TemplateFailure(textOf(bind('raise_exception', args, ['message'])[0]));
  });
  define('strftime_now', args =>
    formatDate(now, textArgument('strftime_now', bind('strftime_now', args, ['format'])[0])),
  );
  for (const name of ['lipsum', 'self']) define(name, refused(name));
  return scope;
}

function refused(name: string): () => never {
  return () => {
    throw new UnsupportedConstruct(`the name ${name}`);
  };
}

function range(args: Arguments): Value {
  const [first, second, step] = bind('range', args, ['start', 'stop?', 'step?']).map(value => {
    if (value === undefined || typeof value === 'bigint') return value;
    failIfUndefined(value);
    if (typeof value === 'boolean') return BigInt(value);
    throw new TemplateFailure(`'${typeName(value)}' object cannot be interpreted as an integer`);
  });
  if (step === 0n) throw new TemplateFailure('range() arg 3 must not be zero');
  const result = second === undefined ? new Range(0n, first!, 1n) : new Range(first!, second, step ?? 1n);
  if (result.length > MAX_RANGE) {
    throw new TemplateFailure(`Range too big. The sandbox blocks ranges larger than ${MAX_RANGE}.`);
  }
  return result;
}

function toDict({ positional, keyword }: Arguments): Dict {
  if (positional.length > 1) throw new TemplateFailure('dict expected at most 1 argument');
  const [source] = positional;
  const result = new Dict();
  if (source instanceof Dict) {
    for (const [key, value] of source.items()) result.set(key, value);
  } else if (source !== undefined) {
    for (const pair of iterate(source)) {
      const items = listOf(pair);
      if (items.length !== 2)
        throw new TemplateFailure('dictionary update sequence element has not two items');
      result.set(items[0], items[1]);
    }
  }
  for (const [key, value] of keyword) result.set(key, value);
  return result;
}

function namespace(args: Arguments): Namespace {
  const result = new PrintableNamespace();
  for (const [key, value] of toDict(args).items()) {
    if (typeof key === 'string') result.attributes.set(key, value);
  }
  return result;
}

class PrintableNamespace extends Namespace {
  override print(): string {
    return `<Namespace ${representation(new Dict(this.attributes))}>`;
  }
}

class Cycler extends Instance {
  readonly typeName = 'Cycler';
  private position = 0;

  constructor(private readonly items: readonly Value[]) {
    super();
    if (items.length === 0) throw new TemplateFailure('at least one item has to be provided');
  }

  override attribute(name: string): Value {
    switch (name) {
      case 'current':
        return this.items[this.position];
      case 'next':
        return new Callable(name, () => {
          const item = this.items[this.position];
          this.position = (this.position + 1) % this.items.length;
          return item;
        });
      case 'reset':
        return new Callable(name, () => {
          this.position = 0;
          return null;
        });
      case 'items':
        return new Tuple(this.items);
      case 'pos':
        return BigInt(this.position);
      default:
        return undefined;
    }
  }
}

/** Empty at its first call, the separator at every other. */
class Joiner extends Callable {
  override readonly typeName = 'Joiner';

  constructor(separator: Value = ', ') {
    let used = false;
    super('joiner', () => {
      const text = used ? separator : '';
      used = true;
      return text;
    });
  }
}
