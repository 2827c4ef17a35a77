/**
 * Jinja templates, rendered as jinja2 renders chat templates in transformers: the immutable sandbox, trim_blocks,
 * lstrip_blocks, loop controls, {% generation %}, tojson, raise_exception and strftime_now. What is not computed
 * exactly as there is refused by its name.
 */
import { withBudget } from './budget.js';
import { BudgetExceeded } from './errors.js';
import { globalScope } from './globals.js';
import { renderTemplate } from './interpreter.js';
import { parseTemplate } from './parser.js';
import { Scope } from './scope.js';
import type { Statement } from './tree.js';
import { fromJavaScript } from './values.js';

export class JinjaTemplate {
  private readonly statements: readonly Statement[];

  /** @throws TemplateSyntaxError; UnsupportedConstruct for a tag that is refused */
  constructor(source: string) {
    this.statements = parseTemplate(source);
  }

  /**
   * @param variables JSON values by name
   * @param now what `strftime_now` tells, in local time
   * @throws TemplateFailure where jinja2 fails too; UnsupportedConstruct for what is refused; BudgetExceeded
   */
  render(variables: Readonly<Record<string, unknown>>, now: Date): string {
    const scope = new Scope(globalScope(now));
    for (const [name, value] of Object.entries(variables)) scope.set(name, fromJavaScript(value));
    try {
      return withBudget(charactersOf(variables), () => renderTemplate(this.statements, scope));
    } catch (cause) {
      // The stack, or the longest text that JavaScript has, is a limit too.
      if (cause instanceof RangeError) throw new BudgetExceeded('it goes too deep', { cause });
      throw cause;
    }
  }
}

function charactersOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 1;
  return Object.entries(value).reduce((sum, [key, item]) => sum + key.length + charactersOf(item), 1);
}
