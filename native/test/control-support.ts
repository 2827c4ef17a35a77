// Starts the ranks of jobs (control-rank.mjs) and finds out what becomes of them.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('control-rank.mjs', import.meta.url));

export interface Settings {
  scenario: string;
  worldSize: number;
  /** That the scenario is about. */
  failing?: number;
  exitCode?: number;
  timeoutMs?: number;
  address?: string;
  token?: string;
  /** Files the process may have open. */
  openFiles?: number;
  /** Rank 0 listens for this host alone. */
  onHost?: boolean;
}

type Line = Record<string, unknown>;

const processes: ChildProcessWithoutNullStreams[] = [];

export class Rank {
  readonly lines: Line[] = [];
  stderr = '';
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly child: ChildProcessWithoutNullStreams;
  #closed = false;
  #wake = (): void => {};

  constructor(settings: Settings, rank: number, port: number) {
    const whole = {
      timeoutMs: 60_000,
      address: '127.0.0.1',
      exitCode: 7,
      token: '',
      ...settings,
      rank,
      port,
      host: `host${rank}`,
    };
    const node = [process.execPath, program, JSON.stringify(whole)];
    const limited = ['sh', '-c', `ulimit -n ${settings.openFiles} && exec "$@"`, 'sh', ...node];
    const [command, ...args] = settings.openFiles === undefined ? node : limited;
    this.child = spawn(command!, args);
    processes.push(this.child);
    this.child.stderr.on('data', data => {
      this.stderr += data;
    });
    createInterface({ input: this.child.stdout }).on('line', line => {
      this.lines.push(JSON.parse(line));
      this.#wake();
    });
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.#closed = true;
      this.#wake();
      return { code, signal };
    });
  }

  /** The value of the `count`th line that has `key`. */
  async said(key: string, count = 1): Promise<unknown> {
    for (;;) {
      const found = this.lines.filter(line => key in line)[count - 1];
      if (found !== undefined) return found[key];
      if (this.#closed) {
        throw new Error(`the rank ended without saying ${key}: ${this.stderr}`);
      }
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }
}

/** Starts rank 0, then the others at its port. */
export async function start(settings: Settings): Promise<Rank[]> {
  const first = new Rank(settings, 0, 0);
  const port = (await first.said('port')) as number;
  return [first, ...ranks(settings, port, 1)];
}

function ranks(settings: Settings, port: number, from: number): Rank[] {
  return Array.from({ length: settings.worldSize - from }, (_, i) => new Rank(settings, from + i, port));
}

export const allJoined = (job: Rank[]) => Promise.all(job.map(rank => rank.said('joined')));
export const codes = async (job: Rank[]) =>
  (await Promise.all(job.map(rank => rank.ended))).map(({ code }) => code);
export const printed = (job: Rank[]) => job.map(rank => rank.stderr).join('');

export interface Outcome {
  /** Until the ranks that go on have ended. */
  seconds: number;
  codes: (number | null)[];
  printed: string;
}

/** What becomes of a job when `signal` is sent to one of its ranks, or nothing is. */
export async function endOf(job: Rank[], victim?: number, signal?: NodeJS.Signals): Promise<Outcome> {
  const from = performance.now();
  if (victim !== undefined) job[victim]!.child.kill(signal);
  await Promise.all(job.map(async (rank, i) => i === victim || (await rank.ended)));
  const seconds = (performance.now() - from) / 1000;
  if (victim !== undefined) job[victim]!.child.kill('SIGCONT');
  const ends = await Promise.all(job.map(rank => rank.ended));
  return { seconds, codes: ends.map(({ code }) => code), printed: job.map(rank => rank.stderr).join('') };
}

/** Leaves no process behind. */
export function killAll(): void {
  for (const child of processes) child.kill('SIGKILL');
}
