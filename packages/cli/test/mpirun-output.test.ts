/** What `sralign launch` passes on of mpirun's standard error: the line of a failing rank, whatever comes between. */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { relayErrors } from '../src/mpirun-output.js';

const RULE = '-'.repeat(74);
const REASON = 'sralign: rank 1 on node7: out of memory';
const PRIMARY = [
  RULE,
  'Primary job  terminated normally, but 1 process returned',
  'a non-zero exit code. Per user-direction, the job has been aborted.',
  RULE,
];
const DETECTED = [
  RULE,
  'mpirun detected that one or more processes exited with non-zero status, thus causing',
  'the job to be terminated. The first process to do so was:',
  '',
  '  Process name: [[4533,1],2]',
  '  Exit code:    3',
  RULE,
];

async function relay(lines: readonly string[]) {
  let written = '';
  const ending = await relayErrors(Readable.from([`${lines.join('\n')}\n`]), text => {
    written += text;
  });
  return { written, ...ending };
}

describe('the line of a failing rank', () => {
  const whole = [...PRIMARY, ...DETECTED];
  it.each(Array.from({ length: whole.length + 1 }, (_, place) => place))(
    'is passed on at place %i',
    async place => {
      const { written, explained } = await relay([...whole.slice(0, place), REASON, ...whole.slice(place)]);
      expect(written).toBe(`${REASON}\n`);
      expect(explained).toBe(true);
    },
  );

  it('is missed where nobody said why, and who ended first is told', async () => {
    const { written, explained, exited } = await relay(whole);
    expect([written, explained]).toEqual(['', false]);
    expect(exited).toBe('rank 2 ended with exit code 3 and did not say why');
  });
});
