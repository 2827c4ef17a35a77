/** Plain texts for a model that may have learnt chats. */
import type { ReadReport } from '../data/rows.js';
import { builtInTemplate } from './built-in-templates.js';

/**
 * Says which files are read as texts although the tokenizer has a chat template, unless data.chat says so, or the template
 * is the one that writes the dialogues of HH-RLHF as they are.
 */
export function textNotices(
  reports: readonly ReadReport[],
  chat: boolean | null,
  chatTemplate: string | null,
): string[] {
  if (chatTemplate === null || chat !== null) return [];
  const ofDialogues = [true, false].some(addsBos => chatTemplate === builtInTemplate('hh', addsBos));
  const files = reports
    .filter(({ kind, format }) => kind === 'text' && !(ofDialogues && format === 'hh'))
    .map(({ file }) => file);
  return [...new Set(files)].map(
    file =>
      `${file}: read as plain text, although the tokenizer has a chat template. data.chat: true makes chats of it.`,
  );
}
