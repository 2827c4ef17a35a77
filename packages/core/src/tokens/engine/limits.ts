/**
 * A tokenizer.json comes from strangers, and a regular expression can take longer than the age of the universe on
 * thirty characters. Those that published models use are known to be harmless; others run within a time limit.
 */
import { runWithin } from '../../bounded.js';
import { ModelError, SralignError } from '../../errors.js';
import type { Engine } from './engine.js';
import type { PatternSpec, TokenizerSpec } from './schema.js';

/** Far more than any text needs, even on a machine under load. */
const LIMIT_MS = 3000;
const LIMIT_MS_PER_CHARACTER = 0.02;

/** The engine, stopped when one of its own expressions takes too long. @throws by its methods: ModelError naming file, field and expression */
export function withinLimits(engine: Engine, spec: TokenizerSpec, file: string): Engine {
  const unknown = expressionsOf(spec).filter(({ expression }) => !HARMLESS.has(expression));
  if (unknown.length === 0) return engine;
  const names = unknown.map(({ expression }) => expression).join(' or ');
  const where = { file, field: unknown.map(({ field }) => field).join(', ') };
  const hint = 'Use a tokenizer whose expressions do not try the same characters again and again.';
  const limited = <T>(characters: number, task: () => T): T => {
    const limitMs = Math.ceil(LIMIT_MS + LIMIT_MS_PER_CHARACTER * characters);
    try {
      return runWithin(limitMs, task, () => {
        const seconds = (limitMs / 1000).toFixed(1);
        const problem = `The regular expression ${names} takes more than ${seconds} s on a text of ${characters} characters.`;
        return new ModelError(problem, { ...where, hint });
      });
    } catch (cause) {
      if (cause instanceof SralignError) throw cause;
      const problem = `The regular expression ${names} cannot be used (${(cause as Error).message}).`;
      throw new ModelError(problem, { ...where, cause });
    }
  };
  return {
    ...engine,
    encode: (text, continues) => limited(text.length, () => engine.encode(text, continues)),
    decode: (ids, skipSpecialTokens) => limited(ids.length, () => engine.decode(ids, skipSpecialTokens)),
  };
}

interface Expression {
  readonly expression: string;
  readonly field: string;
}

function expressionsOf(spec: TokenizerSpec): Expression[] {
  return (['normalizer', 'pre_tokenizer', 'decoder'] as const).flatMap(field => collect(spec[field], field));
}

function collect(part: unknown, field: string): Expression[] {
  if (typeof part !== 'object' || part === null) return [];
  const pattern = (part as { pattern?: PatternSpec }).pattern;
  if (pattern !== undefined && 'Regex' in pattern)
    return [{ expression: pattern.Regex, field: `${field}.pattern` }];
  return Object.entries(part).flatMap(([key, value]) => collect(value, `${field}.${key}`));
}

/** Expressions of published tokenizers: one pass over the text, or over each run of white space. */
const HARMLESS: ReadonlySet<string> = new Set([
  // GPT-2
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  // Llama 3
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  // Qwen 2 and 3
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  // Numbers and spaces of DeepSeek, T5 and others
  String.raw`\p{N}{1,3}`,
  ' {2,}',
  String.raw`\s+`,
]);
