/** Starts the built command as a user does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

export const ROOT = resolve(fileURLToPath(import.meta.url), '../../../..');
export const MODEL = join(ROOT, 'examples/models/stories260k');
export const MAIN = join(ROOT, 'packages/cli/dist/main.js');
if (!existsSync(MAIN)) throw new Error('The tests of the command need a build: npm run build');

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `sralign ...args` to its end; `onStart` gets the process while it runs. */
export function sralign(
  args: string[],
  cwd = ROOT,
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  return runNode([MAIN, ...args], cwd, onStart);
}

export function runNode(
  args: string[],
  cwd: string,
  onStart?: (child: ChildProcess) => void,
): Promise<Outcome> {
  return runCommand(process.execPath, args, cwd, onStart);
}

export function runCommand(
  command: string,
  args: string[],
  cwd: string,
  onStart?: (child: ChildProcess) => void,
  env = process.env,
): Promise<Outcome> {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  onStart?.(child);
  return new Promise((settle, reject) => {
    child.on('error', reject);
    child.on('close', code => settle({ code, ...output }));
  });
}

/** A folder that is deleted at the end of the scope. */
export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'sralign-cli-'));

  join(...names: string[]): string {
    return join(this.path, ...names);
  }

  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.join(name), content);
    return this.join(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The first `count` HH-RLHF rows of the examples, as lines. */
export function hhLines(count: number): string[] {
  const bytes = gunzipSync(readFileSync(join(ROOT, 'examples/data/hh-rlhf/harmless-base.eval.jsonl.gz')));
  return bytes.toString('utf8').split('\n').slice(0, count);
}

export const lines = (text: string): string[] => text.split('\n').filter(line => line !== '');
