import { execFile, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { native } from '../lib/load.js';

const program = fileURLToPath(new URL('mpi-rank.mjs', import.meta.url));
const hasMpi = spawnSync('mpirun', ['--version']).status === 0;
// Beside each other: some do nothing but wait.
const testWithMpi = test.skipIf(!hasMpi).concurrent;
const title = (name: string) => (hasMpi ? name : `${name} (skipped: mpirun is not installed)`);

interface Report {
  rank: number;
  /** `ok` or what went wrong, by the name of the check. */
  results: Record<string, string>;
}

interface Run {
  /** Of mpirun; null where it did not end by itself. */
  status: number | null;
  stdout: string;
  output: string;
}

function runProgram(count: number, ...args: string[]): Promise<Run> {
  const options = {
    env: { ...process.env, OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' },
    timeout: 100_000,
  };
  const mpirun = ['-np', String(count), '--oversubscribe', '--bind-to', 'none', process.execPath];
  return new Promise(resolve => {
    const child = execFile('mpirun', [...mpirun, program, ...args], options, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, output: `${stdout}\n${stderr}` }),
    );
  });
}

/** What the ranks of a suite of mpi-rank.mjs say, in their order. */
async function runRanks(count: number, ...suite: string[]) {
  const run = await runProgram(count, ...suite);
  const reports = run.stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Report)
    .sort((a, b) => a.rank - b.rank);
  return { ...run, reports };
}

async function expectSuccess(count: number, suite: string): Promise<void> {
  const { status, reports, output } = await runRanks(count, suite);
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

testWithMpi(
  title('a rank that waits for others for long does not count as stuck'),
  { timeout: 120_000 },
  () => expectSuccess(2, 'late'),
);

for (const count of [1, 2, 3, 4]) {
  testWithMpi(
    title(`every collective operation on ${count} rank${count === 1 ? '' : 's'}`),
    { timeout: 120_000 },
    () => expectSuccess(count, 'collectives'),
  );
}

testWithMpi(title('the threads of a process share MPI'), { timeout: 120_000 }, () =>
  expectSuccess(2, 'threads'),
);

for (const operation of ['reduce-scatter', 'all-gather']) {
  testWithMpi(
    title(`ranks that disagree about a size get an error (${operation})`),
    { timeout: 120_000 },
    async () => {
      // Rank 1 ends without MPI_Finalize after the error, and mpirun then ends rank 0.
      const { reports, output } = await runRanks(2, 'disagreement', operation);
      expect(
        reports.map(({ rank }) => rank),
        output,
      ).toEqual([1]);
      expect(reports.flatMap(failuresOf)).toEqual([]);
    },
  );
}

testWithMpi(title('a rank that waits uses little of a core'), { timeout: 120_000 }, () =>
  expectSuccess(2, 'waiting'),
);

testWithMpi(
  title('a process can end with an operation under way that others do not come to'),
  { timeout: 120_000 },
  async () => {
    // mpirun ends rank 0 when rank 1 has ended without MPI_Finalize.
    const { status, output } = await runProgram(2, 'abandon');
    expect(output).toContain('rank 1 ends');
    expect(status, output).toEqual(expect.any(Number));
    expect(output).not.toMatch(/signal (6|11) /i);
  },
);

test('a machine without the MPI library is told how to get it', () => {
  for (const path of ['/nowhere/libsralign_mpi.so', `/${'long'.repeat(2000)}`]) {
    expect(() => native().mpiOpen(path)).toThrow(
      expect.objectContaining({
        code: 'ERR_COMMUNICATION',
        message: expect.stringMatching(new RegExp(`${path} is missing.*npm run build.*libopenmpi-dev`)),
      }),
    );
  }
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
