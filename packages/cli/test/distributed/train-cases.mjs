// One rank: trains the configurations of a file, one after another.
import { readFileSync } from 'node:fs';
import { joinWorld, leaveWorld, parseConfig, train } from '@sralign/core';

joinWorld();
for (const config of JSON.parse(readFileSync(process.argv[2], 'utf8'))) await train(parseConfig(config));
leaveWorld();
