import { readFileSync } from 'node:fs';

/** The version of @sralign/cli. */
export const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
