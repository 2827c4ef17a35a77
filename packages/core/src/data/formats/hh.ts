/** HH-RLHF: a pair of dialogues, each in one text. */
import type { ChatMessage, PromptContent } from '../rows.js';
import { commonPrefixLength } from '../texts.js';
import { isText, textField } from './fields.js';
import { type Format, onePair } from './format.js';

const ASSISTANT_TURN = '\n\nAssistant:';
const HUMAN_TURN = '\n\nHuman:';

/**
 * The prompt is what both dialogues share, up to and including their last "\n\nAssistant:"; each answer is the rest, which
 * must not hold another turn. As a chat, every turn is a message without the white space around it.
 */
export const hh: Format = {
  needs: 'chosen, rejected (dialogues as texts, "\\n\\nHuman: … \\n\\nAssistant: …")',
  fields: ['chosen', 'rejected'],
  gives: 'pairs',
  recognise: ({ prompt, chosen, rejected }) =>
    [chosen, rejected].every(text => isText(text) && text.includes(ASSISTANT_TURN)) && !isText(prompt)
      ? ['chosen', 'rejected']
      : null,
  parse(record, where, { chat }) {
    const chosen = textField(record, 'chosen', where);
    const rejected = textField(record, 'rejected', where);
    const shared = commonPrefixLength(chosen, rejected);
    const turn = chosen.lastIndexOf(ASSISTANT_TURN, shared - ASSISTANT_TURN.length);
    if (turn === -1 || shared < ASSISTANT_TURN.length) {
      return { skipped: 'no shared prompt that ends in "\\n\\nAssistant:"' };
    }
    const end = turn + ASSISTANT_TURN.length;
    const answers = [chosen.slice(end), rejected.slice(end)] as const;
    if (answers.some(answer => answer.includes(ASSISTANT_TURN) || answer.includes(HUMAN_TURN))) {
      return { skipped: 'the dialogues part before the last answer' };
    }
    if (!chat) {
      const prompt: PromptContent = { kind: 'text', text: chosen.slice(0, end) };
      return onePair({ prompt, chosen: answers[0], rejected: answers[1] });
    }
    const messages = turnsOf(chosen.slice(0, turn));
    if (messages?.at(-1)?.role !== 'user') return { skipped: 'the dialogue before the answer is no chat' };
    return onePair({
      prompt: { kind: 'chat', messages },
      chosen: answers[0].trim(),
      rejected: answers[1].trim(),
    });
  },
};

/** The turns of a dialogue; null where it does not begin with one. */
function turnsOf(dialogue: string): ChatMessage[] | null {
  const [before, ...parts] = dialogue.split(/\n\n(Human|Assistant):/);
  if (before!.trim() !== '') return null;
  const messages: ChatMessage[] = [];
  for (let index = 0; index < parts.length; index += 2) {
    const role = parts[index] === 'Human' ? 'user' : 'assistant';
    messages.push({ role, content: parts[index + 1]!.trim() });
  }
  return messages;
}
