/** The names that a statement sees: those of its block, then of the blocks around it. */
import { Undefined, type Value } from './values.js';

export class Scope {
  private readonly variables = new Map<string, Value>();

  constructor(private readonly parent: Scope | null) {}

  get(name: string): Value {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return new Undefined(`'${name}' is undefined`);
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}
