/** The texts of a row, for those who look at them and not at tokens. */
import type { Answer, ChatMessage, PromptContent, Row } from './rows.js';

export interface RowTexts {
  /** What was asked last; '' in a conversation, where every answer has its own question. */
  readonly question: string;
  /** Answers that are learnt, but for those that only call tools. */
  readonly chosen: readonly string[];
  readonly rejected: readonly string[];
}

export function rowTexts(row: Row): RowTexts {
  switch (row.kind) {
    case 'pair':
      return {
        question: questionOf(row.prompt),
        chosen: textsOf([row.chosen]),
        rejected: textsOf([row.rejected]),
      };
    case 'completion':
      return { question: questionOf(row.prompt), chosen: textsOf([row.completion]), rejected: [] };
    case 'conversation': {
      const isAnswer = ({ role }: ChatMessage, index: number): boolean =>
        role === 'assistant' && index >= row.firstTrained;
      return { question: '', chosen: textsOf(row.messages.filter(isAnswer)), rejected: [] };
    }
    case 'text':
      return { question: '', chosen: [row.text], rejected: [] };
  }
}

const questionOf = (prompt: PromptContent): string =>
  ((prompt.kind === 'chat' ? prompt.messages.at(-1)?.content : prompt.text) ?? '').trim();

const textsOf = (answers: readonly Answer[]): string[] =>
  answers.map(answer => (typeof answer === 'string' ? answer : answer.content)).filter(text => text !== null);
