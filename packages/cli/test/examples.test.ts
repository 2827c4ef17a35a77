/** Every example that a --help prints works as it is printed, in a fresh clone (of smaller data), one after the other. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAIN, ROOT, runCommand, sralign, TemporaryFolder } from './run.js';

/** What a newcomer has, but that the demo's runs have their steps with one pair each. */
function freshClone(folder: TemporaryFolder): void {
  mkdirSync(folder.join('bin'));
  writeFileSync(folder.join('bin/sralign'), `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`, {
    mode: 0o755,
  });
  symlinkSync(join(ROOT, 'packages'), folder.join('packages'));
  cpSync(join(ROOT, 'examples'), folder.join('examples'), { recursive: true });
  for (const name of ['sft', 'dpo', 'sr-dpo']) {
    const file = folder.join(`examples/demo/${name}.yaml`);
    const smaller = readFileSync(file, 'utf8')
      .replace('maxEvalPairs: null', 'maxEvalPairs: 2\n  maxTrainPairs: 53')
      .replace('longPrompt: drop', 'longPrompt: keep-end')
      .replace('batchPairs: 16', 'batchPairs: 1')
      .replace('everySteps: 10', 'everySteps: 50');
    writeFileSync(file, smaller);
  }
}

/** The lines behind "Examples:", each a command of the shell. */
async function examplesOf(verb: readonly string[]): Promise<string[]> {
  const { stdout } = await sralign([...verb, '--help']);
  const text = stdout.split('\nExamples:\n')[1]!.replaceAll(/\\\n\s*/g, '');
  return [...text.matchAll(/^ {2}\$ (.+)$/gm)].map(([, command]) => command!);
}

const VERBS = [
  [],
  ['init'],
  ['train'],
  ['launch'],
  ['generate'],
  ['data', 'preview'],
  ['plan'],
  ['consolidate'],
  ['verify'],
  ['doctor'],
];

/** What has to be there before the examples of a command. */
const BEFORE: Readonly<Record<string, string>> = { consolidate: 'launch' };

describe('examples of --help', () => {
  it('are of every command', async () => {
    const { stdout } = await sralign(['--help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) .*$/gm)].map(([, name]) => name);
    expect(commands.filter(name => name !== 'help')).toEqual(VERBS.slice(1).map(([name]) => name));
  });

  it.each(VERBS.map(verb => [verb.join(' ') || 'sralign', verb] as const))(
    'of %s work',
    async (name, verb) => {
      using folder = new TemporaryFolder();
      freshClone(folder);
      const env = { ...process.env, PATH: `${folder.join('bin')}:${process.env.PATH}`, OMP_NUM_THREADS: '1' };
      const before = BEFORE[name] === undefined ? [] : (await examplesOf([BEFORE[name]!])).slice(0, 1);
      const examples = await examplesOf(verb);
      expect(examples.length).toBeGreaterThanOrEqual(2);
      for (const command of [...before, ...examples]) {
        const { code, stderr } = await runCommand('sh', ['-c', command], folder.path, undefined, env);
        expect(code, `${command}\n${stderr}`).toBe(0);
      }
    },
    240_000,
  );
});
