/** What no printed text may hold. */
import { hubToken } from './env.js';

/** Shorter ones are no tokens, and would tear holes into every text. */
const MIN_TOKEN_LENGTH = 6;

/** A text without the user's token, tokens of the hub, and the credentials in addresses. */
export function withoutSecrets(text: string): string {
  const token = hubToken() ?? '';
  const known = token.length < MIN_TOKEN_LENGTH ? text : text.replaceAll(token, '***');
  return known.replaceAll(/(\w:\/\/)[^\s/?#@]*@/g, '$1***@').replaceAll(/\bhf_\w{8,}/g, 'hf_***');
}
