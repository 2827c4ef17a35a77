/** The `loop` of {% for %}. It reads one item ahead only when it is asked for the last or the next one, as jinja2's. */
import { bind } from './arguments.js';
import { TemplateFailure } from './errors.js';
import { type Arguments, Callable, equal, lengthOf, Tuple, Undefined, type Value } from './values.js';

/** Renders the body of the loop with other items: {{ loop(children) }}. */
export type Recurse = (items: Value, depth: number) => string;

export class Loop extends Callable {
  override readonly typeName = 'LoopContext';
  private index = -1;
  private knownLength: number | null = null;
  private readonly ahead: Value[] = [];
  private current: Value = undefined;
  private before: Value = undefined;
  private lastChanged: Value = undefined;

  /** @param depth how many loops of the same statement are around it */
  constructor(
    private readonly items: Value,
    private readonly iterator: Iterator<Value>,
    recurse: Recurse | null,
    private readonly depth: number,
  ) {
    super('loop', args => {
      const [children] = bind('loop', args, ['iterable']);
      if (recurse === null) {
        throw new TemplateFailure("The loop must have the 'recursive' marker to be called recursively.");
      }
      return recurse(children, depth + 1);
    });
  }

  /** Goes on to the next item; undefined (JavaScript's) at the end. */
  next(): Value {
    const item = this.ahead.length > 0 ? this.ahead.shift() : this.pull();
    if (item === undefined) return undefined;
    this.index++;
    this.before = this.current;
    this.current = item;
    return item;
  }

  private pull(): Value {
    const next = this.iterator.next();
    return next.done ? undefined : next.value;
  }

  private peek(): Value {
    if (this.ahead.length === 0) {
      const item = this.pull();
      if (item !== undefined) this.ahead.push(item);
    }
    return this.ahead[0];
  }

  private get length(): number {
    if (this.knownLength === null) {
      const known = lengthOf(this.items);
      if (known === undefined)
        for (let item = this.pull(); item !== undefined; item = this.pull()) this.ahead.push(item);
      this.knownLength = known ?? this.index + 1 + this.ahead.length;
    }
    return this.knownLength;
  }

  override attribute(name: string): Value {
    switch (name) {
      case 'index':
        return BigInt(this.index + 1);
      case 'index0':
        return BigInt(this.index);
      case 'revindex':
        return BigInt(this.length - this.index);
      case 'revindex0':
        return BigInt(this.length - this.index - 1);
      case 'first':
        return this.index === 0;
      case 'last':
        return this.peek() === undefined;
      case 'length':
        return BigInt(this.length);
      case 'depth':
        return BigInt(this.depth + 1);
      case 'depth0':
        return BigInt(this.depth);
      case 'previtem':
        return this.index === 0 ? new Undefined('there is no previous item') : this.before;
      case 'nextitem': {
        const next = this.peek();
        return next === undefined ? new Undefined('there is no next item') : next;
      }
      case 'cycle':
        return new Callable(name, args => this.cycle(args));
      case 'changed':
        return new Callable(name, args => this.changed(args));
      default:
        return undefined;
    }
  }

  private cycle({ positional }: Arguments): Value {
    if (positional.length === 0) throw new TemplateFailure('no items for cycling given');
    return positional[this.index % positional.length];
  }

  private changed({ positional }: Arguments): boolean {
    const value = new Tuple(positional);
    if (this.lastChanged !== undefined && equal(this.lastChanged, value)) return false;
    this.lastChanged = value;
    return true;
  }

  override print(): string {
    return `<LoopContext ${this.index + 1}/${this.length}>`;
  }
}
