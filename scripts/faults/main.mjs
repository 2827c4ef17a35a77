// `npm run test:faults -- [--runs N] [--seed N] [--only SUITE]`: disturbs training runs of the built command and looks whether work is lost or
// changed. Prints a table, and as its last line what has survived; exits with 1 where anything is lost or unequal.
//   survived  ended as the undisturbed run byte for byte, or was refused with a message that names what is wrong
//   lost      could not go on, went on from less than it had saved, or failed without saying why
//   unequal   ended in other numbers, or used what should have been refused
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { damagedCheckpoints } from './damage.mjs';
import { changedInputs } from './inputs.mjs';
import { killRuns } from './kills.mjs';
import { MAIN } from './runs.mjs';
import { disks, lostReaders, memoryLimit, signals, twoAtOnce } from './surroundings.mjs';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '50' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    only: { type: 'string', default: '' },
  },
});
const [runs, seed] = [values.runs, values.seed].map(Number);
if (!Number.isSafeInteger(runs) || runs < 0 || !Number.isSafeInteger(seed) || seed < 0)
  throw new Error('--runs and --seed are whole numbers, not negative');
const random = randomNumbers(seed);
const SUITES = {
  kills: () => killRuns(runs, random),
  signals: () => signals(random),
  readers: () => lostReaders(random),
  'two-at-once': twoAtOnce,
  memory: memoryLimit,
  disks: () => disks(random),
  damage: () => damagedCheckpoints(random),
  inputs: changedInputs,
};

if (values.only !== '' && !Object.hasOwn(SUITES, values.only))
  throw new Error(`--only is one of ${Object.keys(SUITES).join(', ')}`);
if (!existsSync(MAIN)) throw new Error('There is no build: npm run build');

console.log(`seed ${seed}`);
const table = new Map();
const total = { survived: 0, lost: 0, unequal: 0 };
const startedAt = Date.now();
for (const [suite, results] of Object.entries(SUITES)) {
  if (values.only !== '' && values.only !== suite) continue;
  for await (const { part, outcome, skipped } of results()) {
    if (skipped !== undefined) {
      console.log(`${part}: skipped, ${skipped}`);
      continue;
    }
    const kind = ['survived', 'lost', 'unequal'].find(kind => outcome[kind]);
    const row = table.get(part) ?? { survived: 0, lost: 0, unequal: 0 };
    row[kind]++;
    total[kind]++;
    table.set(part, row);
    const seconds = Math.round((Date.now() - startedAt) / 1000);
    if (kind === 'survived') console.log(`${seconds} s  ${part}: survived`);
    else console.log(`${seconds} s  ${part}: ${kind.toUpperCase()}: ${outcome.why}`);
  }
}
console.log('');
const width = Math.max(...[...table.keys()].map(part => part.length));
console.log(`${''.padEnd(width)}  survived  lost  unequal`);
for (const [part, row] of table) {
  const cells = [
    String(row.survived).padStart(8),
    String(row.lost).padStart(4),
    String(row.unequal).padStart(7),
  ];
  console.log(`${part.padEnd(width)}  ${cells.join('  ')}`);
}
console.log(`survived ${total.survived}, lost ${total.lost}, unequal ${total.unequal}`);
if (total.lost + total.unequal > 0) process.exitCode = 1;

/** The generator mulberry32: numbers in [0, 1), the same for the same seed. */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
