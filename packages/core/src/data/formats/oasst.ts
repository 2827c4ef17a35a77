/** OpenAssistant: a tree of messages a record, in which people ranked the replies to each of theirs. */
import type { ChatMessage } from '../rows.js';
import { fieldError, has, isObject, isText, numberField } from './fields.js';
import type { Fields, Format, RowContent, Where } from './format.js';
import { pairsOf, type Ranked } from './ranked.js';

interface Node {
  readonly role: 'user' | 'assistant';
  readonly text: string;
  /** 0 is the best of the siblings; null where nobody ranked it. */
  readonly rank: number | null;
  readonly replies: readonly Node[];
}

/**
 * {prompt: {role, text, replies: [{role, text, rank, replies}]}}. Every message of a person with at least two ranked replies
 * gives pairs, after the conversation that leads to it. Deleted messages and what follows them are left out.
 */
export const oasst: Format = {
  needs: 'prompt (a message tree: role, text, replies with a rank)',
  fields: ['prompt'],
  gives: 'pairs',
  recognise: ({ prompt }) =>
    isObject(prompt) && isText(prompt.text) && Array.isArray(prompt.replies)
      ? ['prompt.replies[].rank']
      : null,
  parse(record, where, options) {
    const rows: RowContent[] = [];
    const refused: string[] = [];
    const visit = (node: Node, before: readonly ChatMessage[]): void => {
      const messages = [...before, { role: node.role, content: node.text }];
      const ranked = node.replies.flatMap(({ role, text, rank }): Ranked[] =>
        role === 'assistant' && rank !== null ? [{ answer: text, value: -rank }] : [],
      );
      if (node.role === 'user' && ranked.length > 1) {
        const parsed = pairsOf({ kind: 'chat', messages }, ranked, options);
        if ('skipped' in parsed) refused.push(parsed.skipped);
        else {
          rows.push(...parsed.rows);
          refused.push(...(parsed.refused ?? []));
        }
      }
      for (const reply of node.replies) visit(reply, messages);
    };
    const root = readNode(record.prompt, 'prompt', where);
    if (root !== null) visit(root, []);
    const compared = rows.length + refused.length > 0;
    return compared ? { rows, refused } : { skipped: 'no message with two ranked replies' };
  },
};

const ROLES: Readonly<Record<string, Node['role']>> = { prompter: 'user', assistant: 'assistant' };

/** A message and all that follows it; null where it is deleted. */
function readNode(value: unknown, place: string, where: Where): Node | null {
  const at = { ...where, field: place };
  if (!isObject(value)) throw fieldError(value, 'a message {role, text, replies}', at);
  if (value.deleted === true) return null;
  const role = isText(value.role) && Object.hasOwn(ROLES, value.role) ? ROLES[value.role] : undefined;
  if (role === undefined)
    throw fieldError(value.role, 'prompter or assistant', { ...where, field: `${place}.role` });
  if (!isText(value.text)) throw fieldError(value.text, 'a text', { ...where, field: `${place}.text` });
  return {
    role,
    text: value.text,
    rank: readRank(value, `${place}.rank`, where),
    replies: readReplies(value.replies ?? [], `${place}.replies`, where),
  };
}

const readRank = (node: Fields, place: string, where: Where): number | null =>
  has(node, 'rank') ? numberField({ [place]: node.rank }, place, where) : null;

function readReplies(value: unknown, place: string, where: Where): Node[] {
  if (!Array.isArray(value)) throw fieldError(value, 'a list of messages', { ...where, field: place });
  return value.flatMap((reply: unknown, index) => readNode(reply, `${place}[${index}]`, where) ?? []);
}
