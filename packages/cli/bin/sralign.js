#!/usr/bin/env node
// A committed file, so that npm can link the command before the first build.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) await import(main.href);
else {
  process.stderr.write('sralign: not built yet. Run "npm run setup" in the repository root.\n');
  process.exitCode = 1;
}
