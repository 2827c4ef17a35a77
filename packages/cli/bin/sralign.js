#!/bin/sh
//bin/sh -c :; trap 'SRALIGN_SIGHUP=' HUP; SRALIGN_SIGHUP=ignored; kill -HUP $$; trap - HUP; export SRALIGN_SIGHUP; exec node "$0" "$@"
// A shell reads the line above, in which Node sees a comment, and hands over to Node. It finds out whether SIGHUP is
// ignored, as under nohup: then the trap does not run (src/hangup.ts says what for).
// This is a committed file, so that npm can link the command before the first build.
import { existsSync } from 'node:fs';

const main = new URL('../dist/main.js', import.meta.url);
if (existsSync(main)) await import(main.href);
else {
  process.stderr.write('sralign: not built yet. Run "npm run setup" in the repository root.\n');
  process.exitCode = 1;
}
