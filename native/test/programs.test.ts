/** The control channel in programs of its own, whose clock can be moved (programs/Makefile). */
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';

const sources = fileURLToPath(new URL('programs', import.meta.url));
const built = fileURLToPath(new URL('../build/programs', import.meta.url));

/** What it prints: what went wrong. */
function run(name: string, ...args: string[]): string {
  return spawnSync(`${built}/${name}`, args, { encoding: 'utf8' }).stdout;
}

beforeAll(() => {
  execFileSync('make', ['-C', sources, '-j2', `${built}/pause`, `${built}/last-line`], { stdio: 'pipe' });
}, 300_000);

describe('a pause of the whole job', () => {
  // More than may be silence, than may be no progress, and than may be a wait for each other.
  test.each([11, 25, 70])('of %i s ends no job, wherever it falls', seconds => {
    expect(run('pause', String(seconds))).toBe('');
  });
});

test('the line that says why a job failed is not lost, however late its writer or reader is', () => {
  expect(run('last-line')).toBe('');
});
