/** Runs the statements of a template. */
import { spend, spendOnNewText } from './budget.js';
import { TemplateFailure } from './errors.js';
import { call, type Evaluate, evaluate, evaluateArguments } from './evaluate.js';
import { applyFilter } from './filters.js';
import { namesUnsetAtStart } from './frames.js';
import { Loop } from './loop.js';
import { textOf } from './printing.js';
import { Scope } from './scope.js';
import type { Filter, For, MacroBody, Statement, Target } from './tree.js';
import {
  type Arguments,
  Callable,
  Dict,
  isTrue,
  iterate,
  listOf,
  Namespace,
  Tuple,
  Undefined,
  type Value,
} from './values.js';

/** An iteration makes a scope of its own. */
const ITERATION_STEPS = 4;

/** Where statements go on. */
type Signal = 'next' | 'break' | 'continue';

class Output {
  text = '';

  write(text: string): void {
    spendOnNewText(text.length);
    this.text += text;
  }
}

/** The text that a template writes. */
export function renderTemplate(statements: readonly Statement[], variables: Scope): string {
  return render(statements, blockScope(statements, variables));
}

function render(statements: readonly Statement[], scope: Scope): string {
  const output = new Output();
  run(statements, scope, output);
  return output.text;
}

/** A scope in which the names that the block sets first are there, and undefined. */
function blockScope(body: readonly Statement[], parent: Scope): Scope {
  const scope = new Scope(parent);
  for (const name of namesUnsetAtStart(body)) scope.set(name, new Undefined(`'${name}' is undefined`));
  return scope;
}

function run(statements: readonly Statement[], scope: Scope, output: Output): Signal {
  for (const statement of statements) {
    spend(1);
    const signal = step(statement, scope, output);
    if (signal !== 'next') return signal;
  }
  return 'next';
}

function step(statement: Statement, scope: Scope, output: Output): Signal {
  switch (statement.kind) {
    case 'text':
      output.write(statement.text);
      return 'next';
    case 'output':
      output.write(textOf(evaluate(statement.value, scope)));
      return 'next';
    case 'if': {
      const body = isTrue(evaluate(statement.test, scope)) ? statement.body : statement.otherwise;
      return run(body, scope, output);
    }
    case 'for':
      return runFor(statement, scope, output);
    case 'set':
      assign(statement.target, evaluate(statement.value, scope), scope);
      return 'next';
    case 'set-block': {
      const inner = new Output();
      const innerScope = blockScope(statement.body, scope);
      const signal = run(statement.body, innerScope, inner);
      if (signal !== 'next') return signal;
      assign(statement.target, filtered(statement.filter, inner.text, innerScope), scope);
      return 'next';
    }
    case 'filter-block': {
      const inner = new Output();
      const innerScope = blockScope(statement.body, scope);
      const signal = run(statement.body, innerScope, inner);
      if (signal !== 'next') return signal;
      output.write(textOf(filtered(statement.filter, inner.text, innerScope)));
      return 'next';
    }
    case 'with': {
      const inner = blockScope(statement.body, scope);
      const values = statement.assignments.map(
        ([target, value]) => [target, evaluate(value, scope)] as const,
      );
      for (const [target, value] of values) assign(target, value, inner);
      return run(statement.body, inner, output);
    }
    case 'macro':
      scope.set(statement.name, new Macro(statement.name, statement.macro, scope));
      return 'next';
    case 'call': {
      const args = evaluateArguments(statement.call.args, scope);
      const keyword = new Map(args.keyword);
      keyword.set('caller', new Macro('caller', statement.caller, scope));
      output.write(textOf(call(evaluate(statement.call.callee, scope), { ...args, keyword })));
      return 'next';
    }
    case 'generation':
      run(statement.body, blockScope(statement.body, scope), output);
      return 'next';
    case 'break':
    case 'continue':
      return statement.kind;
  }
}

/** The filters of a {% set %} or {% filter %} block, on its text. */
function filtered(filter: Filter | null, text: string, scope: Scope): Value {
  if (filter === null) return text;
  const operand = filter.operand === null ? text : filtered(filter.operand as Filter, text, scope);
  return applyFilter(filter.name, operand, evaluateArguments(filter.args, scope));
}

function runFor(statement: For, scope: Scope, output: Output, items?: Value, depth = 0): Signal {
  const { target, condition } = statement;
  const iterable = items ?? evaluate(statement.iterable, scope);
  const all = iterate(iterable);
  const iterator = condition === null ? all : keepWhere(all, target, condition, scope);
  const recurse = (children: Value, childDepth: number): string => {
    const inner = new Output();
    runFor(statement, scope, inner, children, childDepth);
    return inner.text;
  };
  const loop = new Loop(
    condition === null ? iterable : null,
    iterator,
    statement.recursive ? recurse : null,
    depth,
  );
  let completed = false;
  for (let item = loop.next(); item !== undefined; item = loop.next()) {
    spend(ITERATION_STEPS);
    const inner = blockScope(statement.body, scope);
    inner.set('loop', loop);
    assign(target, item, inner);
    const signal = run(statement.body, inner, output);
    if (signal === 'break') break;
    // As in jinja2, {% else %} also runs when every iteration was left early.
    if (signal === 'next') completed = true;
  }
  return completed ? 'next' : run(statement.otherwise, blockScope(statement.otherwise, scope), output);
}

function* keepWhere(
  items: Iterable<Value>,
  target: Target,
  condition: Parameters<Evaluate>[0],
  scope: Scope,
): IterableIterator<Value> {
  for (const item of items) {
    const inner = new Scope(scope);
    assign(target, item, inner);
    if (isTrue(evaluate(condition, inner))) yield item;
  }
}

function assign(target: Target, value: Value, scope: Scope): void {
  if (target.kind === 'name') {
    scope.set(target.name, value);
  } else if (target.kind === 'member') {
    const object = scope.get(target.object);
    if (!(object instanceof Namespace)) {
      throw new TemplateFailure('cannot assign attribute on non-namespace object');
    }
    object.attributes.set(target.name, value);
  } else {
    const items = listOf(value);
    if (items.length !== target.items.length) {
      throw new TemplateFailure(`cannot unpack ${items.length} values into ${target.items.length} names`);
    }
    target.items.forEach((item, index) => {
      assign(item, items[index], scope);
    });
  }
}

class Macro extends Callable {
  override readonly typeName = 'Macro';

  constructor(name: string, macro: MacroBody, scope: Scope) {
    super(name, args => {
      const inner = blockScope(macro.body, scope);
      bindMacro(name, macro, args, inner);
      return render(macro.body, inner);
    });
  }

  override attribute(name: string): Value {
    return name === 'name' ? this.name : undefined;
  }

  override print(): string {
    return `<Macro '${this.name}'>`;
  }
}

/** Puts the arguments into the scope of a macro: parameters, their defaults, caller, kwargs and varargs. */
function bindMacro(name: string, { parameters, uses }: MacroBody, args: Arguments, scope: Scope): void {
  const keyword = new Map(args.keyword);
  const missing: (typeof parameters)[number][] = [];
  parameters.forEach((parameter, index) => {
    const positional = args.positional[index];
    const value = positional === undefined ? keyword.get(parameter.name) : positional;
    if (positional === undefined) keyword.delete(parameter.name);
    if (value === undefined) missing.push(parameter);
    scope.set(
      parameter.name,
      value ?? (value === null ? null : new Undefined(`parameter '${parameter.name}' was not provided`)),
    );
  });
  for (const { name: parameter, initial } of missing) {
    if (initial !== null) scope.set(parameter, evaluate(initial, scope));
  }
  if (uses.has('caller') && !parameters.some(parameter => parameter.name === 'caller')) {
    scope.set('caller', keyword.get('caller') ?? new Undefined('No caller defined'));
    keyword.delete('caller');
  }
  if (uses.has('kwargs')) scope.set('kwargs', new Dict(keyword));
  else if (keyword.size > 0) {
    throw new TemplateFailure(`macro '${name}' takes no keyword argument '${[...keyword.keys()][0]}'`);
  }
  const extra = args.positional.slice(parameters.length);
  if (uses.has('varargs')) scope.set('varargs', new Tuple(extra));
  else if (extra.length > 0) {
    throw new TemplateFailure(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
  }
}
