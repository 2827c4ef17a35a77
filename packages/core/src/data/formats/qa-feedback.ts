/** QA-Feedback of Fine-Grained RLHF: answers to a question about passages, compared by people two at a time. */
import { fieldError, isText, listField, numberField, textField } from './fields.js';
import { type Fields, type Format, type ParsedRecord, TIE, type Where } from './format.js';
import { noScores } from './scores.js';

const ANSWERS = ['prediction 1', 'prediction 2', 'prediction 3', 'prediction 4'] as const;

/** The pairs that the six codes of `preference` are about. */
const COUPLES = ANSWERS.flatMap((first, index) =>
  ANSWERS.slice(index + 1).map(second => [first, second] as const),
);

interface Judged {
  readonly better: string;
  readonly worse: string;
}

/**
 * {question, passages, prediction 1 to 4, preference: six codes (0 tie, 1 the first is better, 2 the second)}. The prompt is
 * the question with its passages in the words that the data set's authors trained with. best-worst is the pair that people
 * judged whose answers are furthest apart in judgements won less judgements lost.
 */
export const qaFeedback: Format = {
  needs: 'question, passages, prediction 1, … prediction 4, preference (six codes)',
  fields: ['question', 'passages', ...ANSWERS, 'preference'],
  gives: 'pairs',
  recognise: record =>
    isText(record.question) && ANSWERS.every(name => isText(record[name])) && Array.isArray(record.preference)
      ? ['question', 'prediction 1–4', 'preference']
      : null,
  parse(record, where, { chat, pairs, minScoreGap }): ParsedRecord {
    if (minScoreGap > 0) throw noScores(where);
    const text = promptText(record, where);
    const prompt = chat
      ? { kind: 'chat' as const, messages: [{ role: 'user' as const, content: text }] }
      : { kind: 'text' as const, text };
    const judged = judgements(record, where);
    if (judged.length === 0 && pairs === 'best-worst') return { skipped: TIE };
    const used = pairs === 'all' ? judged : [furthestApart(judged)];
    return {
      rows: used.map(({ better, worse }) => ({
        kind: 'pair' as const,
        prompt,
        chosen: textField(record, better, where),
        rejected: textField(record, worse, where),
      })),
      refused: pairs === 'all' ? Array.from({ length: COUPLES.length - judged.length }, () => TIE) : [],
    };
  },
};

function promptText(record: Fields, where: Where): string {
  const question = `question: ${textField(record, 'question', where)}`;
  const { passages } = record;
  if (!Array.isArray(passages))
    throw fieldError(passages, 'a list of passages [title, sentences …]', { ...where, field: 'passages' });
  const context = passages.map((passage: unknown, index) => {
    if (!Array.isArray(passage) || !passage.every(isText)) {
      throw fieldError(passage, 'a passage [title, sentences …]', { ...where, field: `passages[${index}]` });
    }
    const [title, ...sentences] = passage;
    return `wikipage: ${title} text: ${sentences.join(' ')}`;
  });
  return context.length === 0 ? question : `${question} context: ${context.join(' ')}`;
}

/** The couples of which one answer was found better. */
function judgements(record: Fields, where: Where): Judged[] {
  const codes = listField(record, 'preference', 'six codes, one a pair of answers', where);
  if (codes.length !== COUPLES.length)
    throw fieldError(codes, 'six codes, one a pair of answers', { ...where, field: 'preference' });
  return COUPLES.flatMap(([first, second], index): Judged[] => {
    const field = `preference[${index}]`;
    const code = numberField({ [field]: codes[index] }, field, where);
    if (![0, 1, 2].includes(code)) throw fieldError(code, '0 (tie), 1 or 2', { ...where, field });
    if (code === 0) return [];
    return [code === 1 ? { better: first, worse: second } : { better: second, worse: first }];
  });
}

function furthestApart(judged: readonly Judged[]): Judged {
  const won = (answer: string): number =>
    judged.filter(({ better }) => better === answer).length -
    judged.filter(({ worse }) => worse === answer).length;
  const distance = ({ better, worse }: Judged): number => won(better) - won(worse);
  return judged.reduce((best, other) => (distance(other) > distance(best) ? other : best));
}
