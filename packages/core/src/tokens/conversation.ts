/**
 * Where a chat template writes the answers of a whole conversation: each from behind the opening of its turn up to and
 * including the token that ends it, as in completion.ts.
 *
 * A template may write an earlier turn otherwise than it wrote it when it was the last (thoughts that are left out, an end that
 * only the last turn has). So every answer is looked for in the text of the whole conversation: a probe in place of a message
 * tells what stands before and behind it there.
 */
import type { ChatMessage } from '../data/rows.js';
import { commonPrefixLength } from '../data/texts.js';
import { DataError } from '../errors.js';
import { renderChat, unlessRefused } from './chat-template.js';
import { endWithin, type Place, PROBE, usualAround } from './completion.js';
import type { Tokenizer } from './tokenizer.js';
import { checkCallsWritten, checkToolsWritten, fieldsOf } from './tool-calls.js';

export interface Conversation {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly unknown[] | null;
}

/** A rendered conversation, and the places of answers in it, [start, end) in UTF-16 units. */
export interface AnsweredText {
  readonly text: string;
  readonly answers: readonly (readonly [start: number, end: number])[];
}

/**
 * @param indices of the messages that are answers, ascending
 * @throws DataError naming the message when the template refuses the conversation, or does not write tools, a call of them, or an
 *   answer where it can be told from the rest
 */
export function answersIn(
  tokenizer: Tokenizer,
  conversation: Conversation,
  indices: readonly number[],
  place: Place,
): AnsweredText {
  const finder = new AnswerFinder(tokenizer, conversation, place);
  checkToolsWritten(tokenizer, conversation, false, finder.text, place);
  const fields = fieldsOf('messages', conversation.messages);
  checkCallsWritten(tokenizer, conversation, false, finder.text, fields, place);
  let least = 0;
  const answers = indices.map(index => {
    const found = finder.find(index, least);
    if (found === null) {
      throw new DataError(
        'The chat template does not write the answer where it can be told from the conversation.',
        { ...place, field: `messages[${index}]`, hint: 'Use another chat template.' },
      );
    }
    least = found[1];
    return found;
  });
  return { text: finder.text, answers };
}

class AnswerFinder {
  /** The whole conversation. */
  readonly text: string;
  private readonly probe: string;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly conversation: Conversation,
    private readonly place?: Place,
  ) {
    this.text = this.render(conversation.messages, false);
    let probe = PROBE;
    while (this.text.includes(probe)) probe += PROBE;
    this.probe = probe;
  }

  /** @param least where the answer before it ends */
  find(index: number, least: number): readonly [start: number, end: number] | null {
    const content = this.aroundContent(index);
    const end = this.endOf(index, content);
    if (end === null) return null;
    const start = this.startOf(index, content, least);
    return start === null || start > end ? null : [start, end];
  }

  /** Where the template goes on behind what it writes for the message, and where that begins at the latest. */
  private aroundContent(index: number): { readonly start: number; readonly end: number } | null {
    const message = this.conversation.messages[index]!;
    if (message.tool_calls !== undefined || message.content === null) return null;
    const around = this.around(index);
    if (around === null || !this.text.endsWith(around.tail)) return null;
    const end = this.text.length - around.tail.length;
    return { start: Math.min(commonPrefixLength(this.text, around.head), end), end };
  }

  /** What stands before and behind the content of a message. */
  private around(index: number): { readonly head: string; readonly tail: string } | null {
    const { messages } = this.conversation;
    const probed = messages.map((message, i) =>
      i === index ? { ...message, content: this.probe } : message,
    );
    const rendered = this.tryRender(probed, false);
    const at = rendered?.lastIndexOf(this.probe) ?? -1;
    if (rendered === null || at === -1) return null;
    return { head: rendered.slice(0, at), tail: rendered.slice(at + this.probe.length) };
  }

  private endOf(index: number, content: { readonly end: number } | null): number | null {
    if (content === null) return this.endOfWhole(index) ?? this.endBeforeNext(index);
    const tail = this.text.slice(content.end);
    const isLast = index === this.conversation.messages.length - 1;
    const end = isLast ? endWithin(tail, this.tokenizer).end : endBetween(tail, this.tokenizer);
    return content.end + end.length;
  }

  /** Of a call of tools, whose own text has no known beginning: where the conversation up to it ends. */
  private endOfWhole(index: number): number | null {
    const whole = this.tryRender(this.conversation.messages.slice(0, index + 1), false);
    if (whole === null || !this.text.startsWith(whole)) return null;
    const usual = usualAround(this.tokenizer);
    if (usual !== null && whole.endsWith(usual.tail))
      return whole.length - usual.tail.length + usual.end.length;
    const trimmed = whole.trimEnd();
    const isSpecial = [...this.tokenizer.addedTokens.values()].some(token => trimmed.endsWith(token));
    return isSpecial ? trimmed.length : whole.length;
  }

  /** Of a call of tools that is written otherwise when the conversation ends in it: the last end of a turn before the next. */
  private endBeforeNext(index: number): number | null {
    const end = usualAround(this.tokenizer)?.end ?? '';
    const next = this.startOfNext(index);
    const at = end === '' || next === null ? -1 : this.text.lastIndexOf(end, next - end.length);
    return at === -1 ? null : at + end.length;
  }

  /** Where the content of the next message starts: nothing of this one stands behind. */
  private startOfNext(index: number): number | null {
    const around = index + 1 < this.conversation.messages.length ? this.around(index + 1) : null;
    return around !== null && this.text.startsWith(around.head) ? around.head.length : null;
  }

  private startOf(index: number, content: { readonly start: number } | null, least: number): number | null {
    const before = this.conversation.messages.slice(0, index);
    const opened = index === 0 ? null : this.tryRender(before, true);
    if (opened !== null) {
      if (this.text.startsWith(opened)) return opened.length;
      const trimmed = opened.trimEnd();
      if (this.text.startsWith(trimmed) && trimmed.length >= least) return trimmed.length;
      const closed = this.tryRender(before, false);
      const opening = earlierOpening(this.tokenizer);
      if (closed !== null && opening !== null && this.text.startsWith(closed + opening))
        return closed.length + opening.length;
    }
    return content !== null && content.start >= least ? content.start : null;
  }

  /** What stands between the conversation before a message and its content; null where it cannot be told. */
  opening(index: number): string | null {
    const head = this.around(index)?.head;
    const closed = this.tryRender(this.conversation.messages.slice(0, index), false);
    return head !== undefined && closed !== null && head.startsWith(closed)
      ? head.slice(closed.length)
      : null;
  }

  private render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    return renderChat(this.tokenizer, messages, addGenerationPrompt, this.place, this.conversation.tools);
  }

  /** null where the template refuses the beginning of a conversation. */
  private tryRender(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string | null {
    return unlessRefused(() => this.render(messages, addGenerationPrompt));
  }
}

/**
 * The end of a turn at the beginning of `tail`, behind which the conversation goes on: the usual one, or special tokens of which
 * the last ends a generation, with nothing but white space before them.
 */
function endBetween(tail: string, tokenizer: Tokenizer): string {
  const usualEnd = usualAround(tokenizer)?.end ?? '';
  if (usualEnd !== '' && tail.startsWith(usualEnd)) return usualEnd;
  const { lead, end, stops } = endWithin(tail, tokenizer);
  return stops && lead.trim() === '' ? end : '';
}

const earlierOpenings = new WeakMap<Tokenizer, string | null>();

/** What the template writes before the content of an answer that is not the last, behind the question. */
function earlierOpening(tokenizer: Tokenizer): string | null {
  let opening = earlierOpenings.get(tokenizer);
  if (opening === undefined) {
    const question: ChatMessage = { role: 'user', content: 'Hi' };
    const messages: ChatMessage[] = [question, { role: 'assistant', content: 'Hi' }, question];
    opening = unlessRefused(() => new AnswerFinder(tokenizer, { messages, tools: null }).opening(1));
    earlierOpenings.set(tokenizer, opening);
  }
  return opening;
}
