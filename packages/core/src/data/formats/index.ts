/** The data formats by name, in the order in which data.format: auto tries them. */
import type { DataFormat } from '../../config/schema/data.js';
import { messages, promptCompletion, text } from './answers.js';
import { compared } from './compared.js';
import type { Format } from './format.js';
import { hh } from './hh.js';
import { oasst } from './oasst.js';
import { conversational, orca, preference, sharegpt, ultrafeedback } from './pairs.js';
import { qaFeedback } from './qa-feedback.js';
import { ranked } from './ranked.js';

export type FormatName = Exclude<DataFormat, 'auto'>;

export const FORMATS: Readonly<Record<FormatName, Format>> = {
  oasst,
  sharegpt,
  ultrafeedback,
  conversational,
  orca,
  preference,
  hh,
  compared,
  'qa-feedback': qaFeedback,
  ranked,
  messages,
  'prompt-completion': promptCompletion,
  text,
};

export const FORMAT_NAMES = Object.keys(FORMATS) as readonly FormatName[];

/** Every field that a format reads. */
export const FIELDS: ReadonlySet<string> = new Set(Object.values(FORMATS).flatMap(({ fields }) => fields));
