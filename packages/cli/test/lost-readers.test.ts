/** Runs whose output nobody reads any more, and whose terminal is closed: nothing is lost, and exit codes stay. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MAIN, MODEL, type Outcome, ROOT, runCommand, sralign, TemporaryFolder } from './run.js';
import { tinyConfig } from './tiny.js';

const COMMAND = `${ROOT}/packages/cli/bin/sralign.js`;

const steps = (count: number): string[] =>
  [`training.maxSteps=${count}`, 'data.eval=[]', 'evaluation.everySteps=null'].flatMap(assignment => [
    '--set',
    assignment,
  ]);
/** More than are done before a signal comes. */
const MANY = steps(2000);

/** Calls `then` once when a step has been printed. */
function atFirstStep(child: ChildProcess, then: () => void): void {
  let told = false;
  child.stderr!.on('data', (text: string) => {
    if (told || !text.includes('step ')) return;
    told = true;
    then();
  });
}

/** Sends a signal after the reader of stderr has gone. */
function loseReaderThen(signal: NodeJS.Signals): (child: ChildProcess) => void {
  return child =>
    atFirstStep(child, () => {
      child.stderr!.destroy();
      child.kill(signal);
    });
}

function expectSaved(folder: TemporaryFolder, outcome: Outcome): void {
  expect(outcome.code).toBe(130);
  expect(readdirSync(folder.join('run/checkpoints'))).toHaveLength(1);
}

describe('a run whose output has no reader', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('saves a checkpoint at %s', async signal => {
    using folder = new TemporaryFolder();
    expectSaved(folder, await sralign(['train', tinyConfig(folder), ...MANY], ROOT, loseReaderThen(signal)));
  });

  it('goes on to its end', async () => {
    using folder = new TemporaryFolder();
    const outcome = await sralign(['train', tinyConfig(folder), ...steps(30)], ROOT, child =>
      atFirstStep(child, () => {
        child.stderr!.destroy();
        child.stdout!.destroy();
      }),
    );
    expect(outcome.code).toBe(0);
    expect(existsSync(folder.join('run/final/model.safetensors'))).toBe(true);
  });

  it('goes on when the disk behind its output is full', async () => {
    using folder = new TemporaryFolder();
    const full = 'exec "$@" > /dev/full 2> /dev/full';
    const args = [process.execPath, MAIN, 'train', tinyConfig(folder), ...steps(2)];
    expect((await runCommand('sh', ['-c', full, 'sh', ...args], ROOT)).code).toBe(0);
    expect(existsSync(folder.join('run/final/model.safetensors'))).toBe(true);
  });

  it('saves a checkpoint as several ranks', async () => {
    using folder = new TemporaryFolder();
    const outcome = await sralign(
      ['launch', '--nproc', '2', '--', 'train', tinyConfig(folder), ...MANY],
      ROOT,
      loseReaderThen('SIGHUP'),
    );
    expectSaved(folder, outcome);
  });
});

describe('a command whose work is what it prints', () => {
  const generate = ['generate', MODEL, '--prompt', 'Once', '--max-new-tokens', '200'];

  it('ends quietly when its reader has gone', async () => {
    const outcome = await sralign(generate, ROOT, child => {
      child.stdout!.once('data', () => child.stdout!.destroy());
    });
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
  });

  it('fails when it cannot be written', async () => {
    const args = ['-c', 'exec "$@" > /dev/full', 'sh', process.execPath, MAIN, ...generate];
    const { code, stderr } = await runCommand('sh', args, ROOT);
    expect(stderr).toMatch(/^sralign: the output cannot be written \(ENOSPC/);
    expect(code).toBe(1);
  });
});

/** Runs a command on a terminal of its own, closes that at its first step, and prints its exit code. */
const CLOSED_TERMINAL = `
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    if sys.argv[1] == 'ignored': signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execvp(sys.argv[2], sys.argv[2:])
seen = b''
while b'step ' not in seen: seen += os.read(terminal, 65536)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

describe('a closed terminal', () => {
  it('makes a run save a checkpoint', async () => {
    using folder = new TemporaryFolder();
    const args = ['heard', process.execPath, MAIN, 'train', tinyConfig(folder), ...MANY];
    const { stdout } = await runCommand('python3', ['-c', CLOSED_TERMINAL, ...args], ROOT);
    expectSaved(folder, { code: Number(stdout), stdout: '', stderr: '' });
  });

  it('does not concern a run that was started with SIGHUP ignored', async () => {
    using folder = new TemporaryFolder();
    const args = ['ignored', COMMAND, 'train', tinyConfig(folder), ...steps(30)];
    const { stdout } = await runCommand('python3', ['-c', CLOSED_TERMINAL, ...args], ROOT);
    expect(stdout).toBe('0\n');
    expect(existsSync(folder.join('run/final/model.safetensors'))).toBe(true);
  });
});

describe('under nohup', () => {
  const hangUp = (child: ChildProcess): void => atFirstStep(child, () => child.kill('SIGHUP'));

  it.each([
    ['the command', [COMMAND], process.env],
    ['Node, started from a shell', [process.execPath, MAIN], { ...process.env, _: '/usr/bin/nohup' }],
  ])('%s ignores SIGHUP', async (_, command, env) => {
    using folder = new TemporaryFolder();
    const args = [...command, 'train', tinyConfig(folder), ...steps(30)];
    expect((await runCommand('nohup', args, ROOT, hangUp, env)).code).toBe(0);
    expect(existsSync(folder.join('run/final/model.safetensors'))).toBe(true);
  });
});
