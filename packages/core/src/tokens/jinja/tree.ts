/** The syntax tree of a template. */
import type { Value } from './values.js';

export interface Slice {
  readonly start: Expression | null;
  readonly stop: Expression | null;
  readonly step: Expression | null;
}

/** The arguments of a call, filter or test. */
export interface CallArguments {
  readonly positional: readonly Expression[];
  readonly keyword: readonly (readonly [string, Expression])[];
  /** *expression */
  readonly spread: Expression | null;
  /** **expression */
  readonly keywordSpread: Expression | null;
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export type Expression =
  | { readonly kind: 'constant'; readonly value: Value }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple' | 'concat'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly items: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: 'attribute'; readonly object: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly object: Expression; readonly index: Expression }
  | { readonly kind: 'slice'; readonly object: Expression; readonly slice: Slice }
  | { readonly kind: 'call'; readonly callee: Expression; readonly args: CallArguments }
  | Filter
  | {
      readonly kind: 'test';
      readonly operand: Expression;
      readonly name: string;
      readonly args: CallArguments;
    }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly operand: Expression }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | {
      readonly kind: 'compare';
      readonly first: Expression;
      readonly rest: readonly (readonly [Comparison, Expression])[];
    }
  | {
      readonly kind: 'conditional';
      readonly test: Expression;
      readonly chosen: Expression;
      readonly otherwise: Expression | null;
    };

export interface Filter {
  readonly kind: 'filter';
  /** null: the body of the block that it stands in. */
  readonly operand: Expression | null;
  readonly name: string;
  readonly args: CallArguments;
}

export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'member'; readonly object: string; readonly name: string }
  | { readonly kind: 'tuple'; readonly items: readonly Target[] };

export interface Signature {
  readonly parameters: readonly { readonly name: string; readonly initial: Expression | null }[];
}

export interface MacroBody extends Signature {
  readonly body: readonly Statement[];
  /** The special names that the body reads. */
  readonly uses: ReadonlySet<string>;
}

export interface For {
  readonly kind: 'for';
  readonly target: Target;
  readonly iterable: Expression;
  readonly condition: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
}

export type Statement =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly value: Expression }
  | For
  | {
      readonly kind: 'if';
      readonly test: Expression;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'set-block';
      readonly target: Target;
      readonly filter: Filter | null;
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'macro'; readonly name: string; readonly macro: MacroBody }
  | {
      readonly kind: 'call';
      readonly call: Expression & { readonly kind: 'call' };
      readonly caller: MacroBody;
    }
  | { readonly kind: 'filter-block'; readonly filter: Filter; readonly body: readonly Statement[] }
  | {
      readonly kind: 'with';
      readonly assignments: readonly (readonly [Target, Expression])[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'generation'; readonly body: readonly Statement[] }
  | { readonly kind: 'break' | 'continue' };

/** Whether anything below a node reads one of the names. */
export function namesRead(node: unknown, names: readonly string[]): Set<string> {
  const found = new Set<string>();
  const pending: unknown[] = [node];
  while (pending.length > 0) {
    const next = pending.pop();
    if (typeof next !== 'object' || next === null) continue;
    const { kind, name } = next as { kind?: unknown; name?: unknown };
    if (kind === 'name' && typeof name === 'string' && names.includes(name)) found.add(name);
    for (const child of Object.values(next)) pending.push(child);
  }
  return found;
}
