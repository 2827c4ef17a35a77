/**
 * Names that a block sets before it reads them. jinja2 makes one variable of such a name for the whole block, so that
 * a loop or a macro inside of it that runs before the name is set finds nothing, not the value outside of the block.
 */
import type { Expression, Filter, MacroBody, Statement, Target } from './tree.js';

type Body = readonly Statement[];

const unset = new WeakMap<Body, readonly string[]>();

/** The names of a block that has been analysed. */
export const namesUnsetAtStart = (body: Body): readonly string[] => unset.get(body) ?? [];

/** Finds the names of a template and of every block in it. */
export function analyseBlocks(template: Body): void {
  analyse(template, null, []);
}

/** What is known of the names of a block, while its statements are walked through in order. */
class Frame {
  private readonly unsetAtStart = new Map<string, boolean>();
  private branches = 0;

  constructor(private readonly parent: Frame | null) {}

  private knows(name: string): boolean {
    return this.unsetAtStart.has(name) || (this.parent?.knows(name) ?? false);
  }

  parameter(name: string): void {
    this.unsetAtStart.set(name, false);
  }

  load(name: string): void {
    if (!this.knows(name)) this.unsetAtStart.set(name, false);
  }

  /** A name that is set in a branch may come from outside, even if all the branches set it. */
  store(name: string): void {
    if (this.branches > 0) this.load(name);
    else if (!this.unsetAtStart.has(name)) this.unsetAtStart.set(name, !this.knows(name));
  }

  branch(body: Body): void {
    this.branches++;
    walkAll(body, this);
    this.branches--;
  }

  unsetNames(): string[] {
    return [...this.unsetAtStart].filter(([, isUnset]) => isUnset).map(([name]) => name);
  }
}

function analyse(body: Body, parent: Frame | null, parameters: readonly string[]): void {
  const frame = new Frame(parent);
  for (const name of parameters) frame.parameter(name);
  walkAll(body, frame);
  unset.set(body, frame.unsetNames());
  analyseInside(body, frame);
}

function walkAll(body: Body, frame: Frame): void {
  for (const statement of body) walk(statement, frame);
}

function walk(statement: Statement, frame: Frame): void {
  switch (statement.kind) {
    case 'output':
      load(statement.value, frame);
      break;
    case 'set':
      load(statement.value, frame);
      store(statement.target, frame);
      break;
    case 'set-block':
      store(statement.target, frame);
      break;
    case 'macro':
      frame.store(statement.name);
      break;
    case 'for':
      load(statement.iterable, frame);
      break;
    case 'call':
      load([statement.call, statement.caller.parameters], frame);
      break;
    case 'filter-block':
      load(statement.filter, frame);
      break;
    case 'with':
      for (const [, value] of statement.assignments) load(value, frame);
      break;
    case 'if':
      load(statement.test, frame);
      frame.branch(statement.body);
      frame.branch(statement.otherwise);
      break;
  }
}

/** The blocks in a body, each a frame of its own. */
function analyseInside(body: Body, frame: Frame): void {
  for (const statement of body) {
    switch (statement.kind) {
      case 'for':
        analyse(statement.body, frame, ['loop', ...namesOf(statement.target)]);
        analyse(statement.otherwise, frame, []);
        break;
      case 'if':
        analyseInside(statement.body, frame);
        analyseInside(statement.otherwise, frame);
        break;
      case 'macro':
        analyseMacro(statement.macro, frame);
        break;
      case 'call':
        analyseMacro(statement.caller, frame);
        break;
      case 'with':
        analyse(
          statement.body,
          frame,
          statement.assignments.flatMap(([target]) => namesOf(target)),
        );
        break;
      case 'set-block':
      case 'filter-block':
      case 'generation':
        analyse(statement.body, frame, []);
        break;
    }
  }
}

function analyseMacro({ parameters, uses, body }: MacroBody, frame: Frame): void {
  analyse(body, frame, [...parameters.map(({ name }) => name), ...uses]);
}

function namesOf(target: Target): string[] {
  if (target.kind === 'tuple') return target.items.flatMap(namesOf);
  return target.kind === 'name' ? [target.name] : [];
}

function store(target: Target, frame: Frame): void {
  if (target.kind === 'tuple') for (const item of target.items) store(item, frame);
  else if (target.kind === 'name') frame.store(target.name);
  else frame.load(target.object);
}

/** Every name that stands in expressions. */
function load(node: Expression | Filter | readonly unknown[], frame: Frame): void {
  const pending: unknown[] = [node];
  while (pending.length > 0) {
    const next = pending.pop();
    if (typeof next !== 'object' || next === null) continue;
    const { kind, name } = next as { kind?: unknown; name?: unknown };
    if (kind === 'name' && typeof name === 'string') frame.load(name);
    for (const child of Object.values(next)) pending.push(child);
  }
}
