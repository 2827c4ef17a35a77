/** Template source to statements. */
import { TemplateSyntaxError, UnsupportedConstruct } from './errors.js';
import { ExpressionParser } from './expressions.js';
import { analyseBlocks } from './frames.js';
import { tokenize } from './lexer.js';
import { type MacroBody, namesRead, type Signature, type Statement } from './tree.js';

/** Tags of jinja2 that no chat template needs: they reach for other templates, or switch escaping on. */
const REFUSED_TAGS: ReadonlySet<string> = new Set([
  'autoescape',
  'block',
  'extends',
  'from',
  'import',
  'include',
]);

/**
 * @throws TemplateSyntaxError naming the line, or UnsupportedConstruct
 */
export function parseTemplate(source: string): readonly Statement[] {
  try {
    const template = new StatementParser(new ExpressionParser(tokenize(source))).template();
    analyseBlocks(template);
    return template;
  } catch (cause) {
    if (cause instanceof RangeError) throw new TemplateSyntaxError('it is nested too deeply', { cause });
    throw cause;
  }
}

class StatementParser {
  /** Loops around the statement, up to the next macro: where break and continue may stand. */
  private loops = 0;

  constructor(private readonly tokens: ExpressionParser) {}

  template(): readonly Statement[] {
    const { statements, end } = this.statements([]);
    if (end !== null) this.tokens.fail(`unknown tag '${end}'`);
    return statements;
  }

  /** Statements up to one of the tags, whose name has been read, or up to the end of the template. */
  private statements(ends: readonly string[]): { statements: Statement[]; end: string | null } {
    const { tokens } = this;
    const statements: Statement[] = [];
    for (;;) {
      if (tokens.is('text')) {
        statements.push({ kind: 'text', text: tokens.next().text });
      } else if (tokens.skip('output-begin')) {
        statements.push({ kind: 'output', value: tokens.tuple() });
        tokens.expect('output-end');
      } else if (tokens.skip('block-begin')) {
        if (!tokens.is('name')) tokens.fail('tag name expected');
        if (ends.includes(tokens.current.text)) return { statements, end: tokens.next().text };
        statements.push(...this.statement());
        tokens.expect('block-end');
      } else if (ends.length > 0) {
        tokens.fail(`expected {% ${ends.join(' %} or {% ')} %}`);
      } else {
        tokens.expect('end');
        return { statements, end: null };
      }
    }
  }

  /** The rest of the opening tag, the statements of the body, and the name of the tag that ends them. */
  private body(...ends: readonly string[]): { statements: Statement[]; end: string } {
    this.tokens.skip('operator', ':');
    this.tokens.expect('block-end');
    const { statements, end } = this.statements(ends);
    return { statements, end: end! };
  }

  private statement(): Statement[] {
    const { tokens } = this;
    const tag = tokens.next().text;
    switch (tag) {
      case 'for':
        return [this.forLoop()];
      case 'if':
        return [this.conditional()];
      case 'set':
        return [this.assignment()];
      case 'macro':
        return [{ kind: 'macro', name: tokens.expect('name').text, macro: this.macro() }];
      case 'call':
        return [this.callBlock()];
      case 'filter':
        return [this.filterBlock()];
      case 'with':
        return [this.withBlock()];
      case 'print':
        return this.print();
      case 'generation':
        return [{ kind: 'generation', body: this.isolated(() => this.body('endgeneration').statements) }];
      case 'break':
      case 'continue':
        if (this.loops === 0) tokens.fail(`'${tag}' outside loop`);
        return [{ kind: tag }];
      default:
        if (REFUSED_TAGS.has(tag)) throw new UnsupportedConstruct(`the tag {% ${tag} %}`);
        return tokens.fail(`unknown tag '${tag}'`);
    }
  }

  private forLoop(): Statement {
    const { tokens } = this;
    const target = tokens.target({ end: 'in' });
    tokens.expect('name', 'in');
    const iterable = tokens.tuple({ conditional: false, end: 'recursive' });
    const condition = tokens.skip('name', 'if') ? tokens.expression() : null;
    const recursive = tokens.skip('name', 'recursive');
    this.loops++;
    const { statements: body, end } = this.body('endfor', 'else');
    this.loops--;
    const otherwise = end === 'else' ? this.body('endfor').statements : [];
    return { kind: 'for', target, iterable, condition, recursive, body, otherwise };
  }

  private conditional(): Statement {
    const test = this.tokens.tuple({ conditional: false });
    const { statements: body, end } = this.body('elif', 'else', 'endif');
    const otherwise =
      end === 'elif' ? [this.conditional()] : end === 'else' ? this.body('endif').statements : [];
    return { kind: 'if', test, body, otherwise };
  }

  private assignment(): Statement {
    const { tokens } = this;
    const target = tokens.target({ members: true });
    if (tokens.skip('operator', '=')) return { kind: 'set', target, value: tokens.tuple() };
    let filter = tokens.skip('operator', '|') ? tokens.filter(null) : null;
    while (tokens.skip('operator', '|')) filter = tokens.filter(filter);
    return { kind: 'set-block', target, filter, body: this.body('endset').statements };
  }

  private filterBlock(): Statement {
    let filter = this.tokens.filter(null);
    while (this.tokens.skip('operator', '|')) filter = this.tokens.filter(filter);
    return { kind: 'filter-block', filter, body: this.body('endfilter').statements };
  }

  private callBlock(): Statement {
    const { tokens } = this;
    const signature: Signature = tokens.is('operator', '(') ? this.signature() : { parameters: [] };
    const call = tokens.expression();
    if (call.kind !== 'call') return tokens.fail('expected call');
    const body = this.isolated(() => this.body('endcall').statements);
    return { kind: 'call', call, caller: { ...signature, body, uses: specialNames(body) } };
  }

  private withBlock(): Statement {
    const { tokens } = this;
    const assignments = [];
    while (!tokens.is('block-end')) {
      const target = tokens.target();
      tokens.expect('operator', '=');
      assignments.push([target, tokens.expression()] as const);
      if (!tokens.skip('operator', ',')) break;
    }
    return { kind: 'with', assignments, body: this.body('endwith').statements };
  }

  private print(): Statement[] {
    const statements: Statement[] = [];
    while (!this.tokens.is('block-end')) {
      statements.push({ kind: 'output', value: this.tokens.expression() });
      if (!this.tokens.skip('operator', ',')) break;
    }
    return statements;
  }

  private macro(): MacroBody {
    const signature = this.signature();
    const body = this.isolated(() => this.body('endmacro').statements);
    return { ...signature, body, uses: specialNames(body) };
  }

  private signature(): Signature {
    const { tokens } = this;
    const parameters = [];
    tokens.expect('operator', '(');
    while (!tokens.is('operator', ')')) {
      const { text: name } = tokens.expect('name');
      const initial = tokens.skip('operator', '=') ? tokens.expression() : null;
      if (initial === null && parameters.at(-1)?.initial) {
        tokens.fail('non-default argument follows default argument');
      }
      parameters.push({ name, initial });
      if (!tokens.skip('operator', ',')) break;
    }
    tokens.expect('operator', ')');
    return { parameters };
  }

  /** A body that break and continue do not leave. */
  private isolated<T>(parse: () => T): T {
    const { loops } = this;
    this.loops = 0;
    const result = parse();
    this.loops = loops;
    return result;
  }
}

const specialNames = (body: readonly Statement[]): Set<string> =>
  namesRead(body, ['caller', 'kwargs', 'varargs']);
