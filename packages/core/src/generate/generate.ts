/** Text generation with a key-value cache: the prompt in one pass, then one token at a time. */
import { linear, Scope, Tensor, unscoped } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import type { ChatMessage } from '../data/rows.js';
import { ConfigError } from '../errors.js';
import type { CausalLM, KeyValueCache } from '../model/causal-lm.js';
import { endOfTurn } from '../tokens/completion.js';
import { encodePrompt } from '../tokens/sequence.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { type SamplingOptions, TokenSampler } from './sampling.js';

export interface GenerateOptions extends SamplingOptions {
  readonly maxNewTokens: number;
}

/**
 * Generates after a prompt, one token id per iteration, and ends at any of `stopTokenIds`, which is not given out.
 *
 * @param promptTokens with BOS where the model expects it; at least one
 * @throws ConfigError for impossible settings, or when prompt and new tokens exceed the model's positions
 */
export function* generateTokens(
  model: CausalLM,
  promptTokens: readonly number[],
  stopTokenIds: Iterable<number>,
  options: GenerateOptions,
): Generator<number> {
  checkOptions(options);
  const capacity = promptTokens.length + options.maxNewTokens;
  if (promptTokens.length === 0) throw new ConfigError('The prompt has no token.', { field: 'prompt' });
  if (capacity > model.spec.maxPositions) {
    throw new ConfigError(
      `The prompt (${promptTokens.length} tokens) and ${options.maxNewTokens} new tokens exceed the model's ` +
        `${model.spec.maxPositions} positions.`,
      { field: 'maxNewTokens' },
    );
  }
  using session = new GenerationSession(model, capacity);
  const sampler = new TokenSampler(options);
  const stops = new Set(stopTokenIds);
  let logits = session.advance(promptTokens);
  for (let produced = 0; produced < options.maxNewTokens; produced++) {
    const token = sampler.next(logits);
    if (stops.has(token)) return;
    yield token;
    if (produced + 1 < options.maxNewTokens) logits = session.advance([token]);
  }
}

/**
 * Ids that end an answer: EOS, those that generation_config.json and config.json list, and the end of a turn in the words
 * of the chat template where it is one token.
 */
export function stopTokens(tokenizer: Tokenizer): number[] {
  const end = endOfTurn(tokenizer);
  return [...new Set([...tokenizer.stopTokenIds, ...(end?.ids.length === 1 ? end.ids : [])])];
}

/**
 * Generates text after a prompt, in pieces as they are decided; pieces end at whole characters. It ends at `stopTokens`, and,
 * after a chat, where the model has written the end of a turn as text, which is not given out.
 *
 * @param options.prompt a text, which gets BOS in front if the tokenizer adds one; or the messages of a chat, which begins
 *   as its template writes it
 * @throws as generateTokens and renderChat
 */
export async function* generateText(
  model: CausalLM,
  tokenizer: Tokenizer,
  options: GenerateOptions & { readonly prompt: string | readonly ChatMessage[] },
): AsyncGenerator<string> {
  const { prompt } = options;
  const { bos, ids } = encodePrompt(
    tokenizer,
    typeof prompt === 'string' ? { kind: 'text', text: prompt } : { kind: 'chat', messages: prompt },
  );
  const promptTokens = [...bos, ...ids];
  const promptText = tokenizer.decode(promptTokens, { skipSpecialTokens: true });
  const tokens = [...promptTokens];
  const end = typeof prompt === 'string' ? null : endOfTurn(tokenizer);
  const stopText = end === null || end.ids.length === 1 ? null : end.text;
  let given = promptText.length;
  let whole = promptText;
  for (const token of generateTokens(model, promptTokens, stopTokens(tokenizer), options)) {
    tokens.push(token);
    const text = tokenizer.decode(tokens, { skipSpecialTokens: true });
    // A character may need several byte tokens; until they are complete it decodes to U+FFFD.
    if (text.endsWith('\uFFFD')) continue;
    whole = text;
    const stop = stopText === null ? -1 : text.indexOf(stopText, promptText.length);
    if (stop !== -1) {
      whole = text.slice(0, stop);
      break;
    }
    const sure = stopText === null ? text.length : text.length - overlapAtEnd(stopText, text);
    if (sure > given) yield text.slice(given, sure);
    given = Math.max(given, sure);
    await new Promise(resolve => setImmediate(resolve));
  }
  if (whole.length > given) yield whole.slice(given);
}

/** How much of a stop text stands at the end of `text`. */
function overlapAtEnd(stopText: string, text: string): number {
  for (let length = Math.min(stopText.length - 1, text.length); length > 0; length--)
    if (text.endsWith(stopText.slice(0, length))) return length;
  return 0;
}

/** One sequence, its cache and its position. No scope stays open between calls, since other work may run there. */
class GenerationSession implements Disposable {
  private readonly layers: KeyValueCache['layers'];
  private length = 0;

  constructor(
    private readonly model: CausalLM,
    capacity: number,
  ) {
    const { kvHeads, headDim } = model.spec.heads;
    const shape = [capacity, kvHeads * headDim];
    this.layers = unscoped(() =>
      Array.from({ length: model.spec.layers }, () => ({
        keys: Tensor.empty(shape, model.computeType),
        values: Tensor.empty(shape, model.computeType),
      })),
    );
  }

  /** Feeds tokens and returns the logits after the last one: f32 [V]. */
  advance(tokens: readonly number[]): Float32Array {
    using _scope = new Scope();
    const { model } = this;
    const count = tokens.length;
    using graph = new Graph('inference');
    const hidden = model.hidden(graph, {
      tokens: Tensor.from(Int32Array.from(tokens), [count]),
      positions: Tensor.from(
        Int32Array.from({ length: count }, (_, i) => this.length + i),
        [count],
      ),
      context: { cache: { layers: this.layers, length: this.length } },
    });
    this.length += count;
    const logits = Tensor.empty([1, model.spec.vocabularySize]);
    linear({ x: hidden.value.rows(count - 1, count), weight: model.head.compute, out: logits });
    return logits.toFloat32Array();
  }

  [Symbol.dispose](): void {
    for (const { keys, values } of this.layers) {
      keys.dispose();
      values.dispose();
    }
  }
}

function checkOptions({ maxNewTokens, temperature, topP }: GenerateOptions): void {
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new ConfigError(`It must be a positive integer, got ${maxNewTokens}.`, { field: 'maxNewTokens' });
  }
  if (!(temperature >= 0) || !Number.isFinite(temperature)) {
    throw new ConfigError(`It must be 0 (greedy) or greater, got ${temperature}.`, { field: 'temperature' });
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new ConfigError(`It must be in (0, 1], got ${topP}.`, { field: 'topP' });
  }
}
