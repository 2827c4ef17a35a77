/** Pairs of plain texts. */
import { textField } from './fields.js';
import { type Format, onePair } from './format.js';

const ASSISTANT_TURN = '\n\nAssistant:';
const HUMAN_TURN = '\n\nHuman:';

/** {prompt, chosen, rejected}, taken as they are. */
export const preference: Format = {
  fields: ['prompt', 'chosen', 'rejected'],
  parse: (record, where) =>
    onePair({
      prompt: { kind: 'text', text: textField(record, 'prompt', where) },
      chosen: textField(record, 'chosen', where),
      rejected: textField(record, 'rejected', where),
    }),
};

/**
 * HH-RLHF: two dialogues in one text each. The prompt is what they share, up to and including their last
 * "\n\nAssistant:"; each answer is the rest, which must not hold another turn.
 */
export const hh: Format = {
  fields: ['chosen', 'rejected'],
  parse(record, where) {
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
    return onePair({
      prompt: { kind: 'text', text: chosen.slice(0, end) },
      chosen: answers[0],
      rejected: answers[1],
    });
  },
};

function commonPrefixLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
