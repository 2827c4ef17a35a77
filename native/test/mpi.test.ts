import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { native } from '../lib/load.js';

const program = fileURLToPath(new URL('mpi-rank.mjs', import.meta.url));
const hasMpi = spawnSync('mpirun', ['--version']).status === 0;
const testWithMpi = test.skipIf(!hasMpi);
const title = (name: string) => (hasMpi ? name : `${name} (skipped: mpirun is not installed)`);

interface Report {
  rank: number;
  /** `ok` or what went wrong, by the name of the check. */
  results: Record<string, string>;
}

/** What every rank of a suite of mpi-rank.mjs says, by rank. */
function runRanks(count: number, suite: string) {
  const { status, stdout, stderr } = spawnSync(
    'mpirun',
    ['-np', String(count), '--oversubscribe', '--bind-to', 'none', process.execPath, program, suite],
    {
      env: { ...process.env, OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' },
      encoding: 'utf8',
      timeout: 150_000,
    },
  );
  const reports = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Report)
    .sort((a, b) => a.rank - b.rank);
  return { status, reports, output: `${stdout}\n${stderr}` };
}

function expectSuccess(count: number, suite: string): void {
  const { status, reports, output } = runRanks(count, suite);
  expect(reports.flatMap(failuresOf)).toEqual([]);
  expect(
    reports.map(({ rank }) => rank),
    output,
  ).toEqual([...Array(count).keys()]);
  expect(status).toBe(0);
}

function failuresOf({ rank, results }: Report): string[] {
  return Object.entries(results)
    .filter(([, result]) => result !== 'ok')
    .map(([name, result]) => `rank ${rank}: ${name}: ${result}`);
}

for (const count of [1, 2, 3, 4]) {
  testWithMpi(
    title(`every collective operation on ${count} rank${count === 1 ? '' : 's'}`),
    { timeout: 180_000 },
    () => {
      expectSuccess(count, 'collectives');
    },
  );
}

testWithMpi(title('the threads of a process share MPI'), { timeout: 180_000 }, () => {
  expectSuccess(2, 'threads');
});

testWithMpi(title('ranks that disagree about a size get an error'), { timeout: 180_000 }, () => {
  // Rank 1 ends without MPI_Finalize after the error, and mpirun then ends rank 0, whatever that has said by then.
  const { reports, output } = runRanks(2, 'disagreement');
  const told = reports.find(({ rank }) => rank === 1);
  expect(told, output).toBeDefined();
  expect(failuresOf(told!)).toEqual([]);
});

testWithMpi(title('a rank that waits uses little of a core'), { timeout: 180_000 }, () => {
  expectSuccess(2, 'waiting');
});

test('a machine without the MPI library is told how to get it', () => {
  expect(() => native().mpiOpen('/nowhere/libsralign_mpi.so')).toThrow(
    expect.objectContaining({
      code: 'ERR_COMMUNICATION',
      message: expect.stringMatching(
        /\/nowhere\/libsralign_mpi\.so is missing.*npm run build.*libopenmpi-dev/,
      ),
    }),
  );
});

test('without MPI nothing of it works, and closing does nothing', () => {
  const code = (call: () => unknown) => {
    try {
      call();
    } catch (error) {
      return (error as { code: string }).code;
    }
    return undefined;
  };
  expect(code(() => native().mpiShareText('a'))).toBe('ERR_COMMUNICATION');
  expect(code(() => native().useCollectives(0, new Uint8Array(), 0, 1))).toBe('ERR_COMMUNICATION');
  expect(code(() => native().barrier())).toBe('ERR_COMMUNICATION');
  expect(code(() => native().mpiClose())).toBe(undefined);
});
