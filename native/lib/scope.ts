import { NativeError } from './errors.js';
import type { Tensor } from './tensor.js';

/** Innermost last; `undefined` marks a stretch of `unscoped`. */
const open: (Scope | undefined)[] = [];

/**
 * Owns every tensor, views too, created while it is the innermost open scope, and frees them at its end. Scopes nest:
 *
 * ```ts
 * using scope = new Scope();
 * const hidden = Tensor.empty([tokens, width]);
 * return scope.keep(hidden); // outlives the scope
 * ```
 *
 * The stack of scopes belongs to the thread, so a scope must not stay open across an `await` during which other code
 * opens one.
 */
export class Scope implements Disposable {
  readonly #owned = new Set<Tensor>();
  readonly #parent: Scope | undefined;
  #closed = false;

  /** Opens the scope. */
  constructor() {
    this.#parent = currentScope();
    open.push(this);
  }

  /**
   * Hands a tensor over to the enclosing scope, or to the caller where there is none. A tensor that this scope does not
   * own is returned as it is.
   */
  keep<T extends Tensor>(tensor: T): T {
    if (this.#owned.delete(tensor)) this.#parent?.own(tensor);
    return tensor;
  }

  /**
   * Frees what the scope still owns. Does nothing the second time.
   * @throws NativeError (ERR_SCOPE_ORDER) when a scope opened later is still open.
   */
  dispose(): void {
    if (this.#closed) return;
    if (open.at(-1) !== this) {
      throw new NativeError(
        'ERR_SCOPE_ORDER',
        'A scope can be closed only after the scopes opened inside it.',
      );
    }
    open.pop();
    this.#closed = true;
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  own(tensor: Tensor): void {
    this.#owned.add(tensor);
  }

  /** @internal */
  disown(tensor: Tensor): void {
    this.#owned.delete(tensor);
  }
}

/** @internal The scope that owns what is created now. */
export function currentScope(): Scope | undefined {
  return open.at(-1);
}

/** Runs `fn` outside every scope: the tensors it creates belong to the caller, who disposes them. */
export function unscoped<T>(fn: () => T): T {
  open.push(undefined);
  const depth = open.length;
  try {
    return fn();
  } finally {
    open.length = depth - 1;
  }
}
