/** Starts the ranks of a job on NCCL (collectives-rank.mjs), and says what its operations must give. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('collectives-rank.mjs', import.meta.url));

export interface Line {
  id?: string;
  name?: string;
  /** f32, in base64. */
  tensors?: string[];
  error?: string;
  message?: string;
}

export interface RankOutput {
  lines: Line[];
  stderr: string;
  status: number | null;
}

/** No program takes as long, whatever the machine does beside it. */
const LIMIT_MS = 120_000;

export type Program = 'all' | 'mismatch' | 'noSuchRank';

/** Runs a program of collectives-rank.mjs on `size` ranks and gives what each printed. */
export async function runRanks(
  program: Program,
  size: number,
  environment: Record<string, string> = {},
): Promise<RankOutput[]> {
  const env = { ...process.env, ...environment };
  const start = (rank: number, id: string[]) => {
    const child = spawn(process.execPath, [script, program, `${rank}`, `${size}`, ...id], {
      env,
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    const output: RankOutput = { lines: [], stderr: '', status: null };
    child.stderr.on('data', data => {
      output.stderr += data;
    });
    const printed = createInterface({ input: child.stdout });
    const ended = new Promise<void>(resolve => {
      child.on('close', status => {
        output.status = status;
        resolve();
      });
      child.on('error', error => {
        output.stderr += error.message;
        resolve(); // a process that does not start has no end
      });
    });
    child.stdin.on('error', () => {}); // it ended early, which its status tells
    return { child, output, printed, ended };
  };

  const first = start(0, []);
  const others: ReturnType<typeof start>[] = [];
  const all = () => [first, ...others];
  const collect = (rank: ReturnType<typeof start>, text: string) => {
    const line = parse(text);
    rank.output.lines.push(line);
    return line;
  };
  first.printed.on('line', text => {
    const { id, name } = collect(first, text);
    if (id !== undefined) {
      for (let rank = 1; rank < size; rank++) {
        const other = start(rank, [id]);
        other.printed.on('line', line => collect(other, line));
        others.push(other);
      }
    }
    if (name === 'unattended') for (const { child } of others) child.stdin.end('\n');
  });
  try {
    await first.ended;
    // Without the line above, a rank would wait for it.
    for (const { child } of others) child.stdin.end('\n');
    await Promise.all(others.map(rank => rank.ended));
  } finally {
    for (const { child } of all()) child.kill('SIGKILL');
  }
  return all().map(rank => rank.output);
}

/** A process that an error ends may leave half a line. */
function parse(text: string): Line {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// ---- what must come out -----------------------------------------------------------------------------------------

/** As in collectives-rank.mjs. */
const value = (i: number, seed: number) => ((i * 7 + seed * 13) % 31) - 15;
const sequence = (count: number, value: (i: number) => number) =>
  Float32Array.from({ length: count }, (_, i) => value(i));
const sum = (count: number, term: (i: number) => number) =>
  Array.from({ length: count }, (_, i) => term(i)).reduce((a, b) => a + b, 0);

/** The tensors of every operation on one rank. */
export function expectedTensors(rank: number, size: number): Record<string, Float32Array[]> {
  const gathered = (count: number, factor: number, shift = 0) =>
    sequence(size * count, i => factor * value(i % count, Math.floor(i / count) + shift));
  /** Over ranks. */
  const total = (i: number, shift = 0) => sum(size, other => 2 * value(i, other + shift));
  const side = 48;
  const product = sequence(side * side, at =>
    sum(side, k => value(Math.floor(at / side) * side + k, 3) * value((at % side) * side + k, 3)),
  );
  return {
    gather: [gathered(100, 6), product],
    gatherMuch: [gathered(50_000, 2)],
    gatherInPlace: [gathered(77, 2)],
    reduceScatter: [sequence(20_000, i => 3 * total(rank * 20_000 + i)), product],
    allReduce: [sequence(33, i => 3 * total(i))],
    broadcast: [sequence(333, i => 6 * value(i, size - 1))],
    // Every rank has the same gradient: the gathered weights times the number of the layer.
    layers: [0, 1, 2, 3].map(layer =>
      sequence(64, i => size * (layer + 1) * 2 * value(i, rank + 10 * layer)),
    ),
    waitsInAnyOrder: [gathered(10, 2), gathered(10, 2, 2), gathered(10, 2, 1)],
    barrier: [],
    unattended: [sequence(5, i => total(i))],
  };
}

/** What is wrong with what the ranks of a job make of every operation. */
export async function findMistakes(size: number, environment: Record<string, string>): Promise<string[]> {
  const outputs = await runRanks('all', size, environment);
  return outputs
    .map((output, rank) => findMistake(output, rank, size))
    .filter(mistake => mistake !== undefined);
}

function findMistake({ lines, stderr, status }: RankOutput, rank: number, size: number) {
  for (const [name, tensors] of Object.entries(expectedTensors(rank, size))) {
    const found = lines.find(line => line.name === name)?.tensors;
    if (found === undefined) return `rank ${rank} has no ${name}: ${stderr}`;
    for (const [place, expected] of tensors.entries()) {
      const bytes = Buffer.from(found[place]!, 'base64');
      if (!bytes.equals(Buffer.from(expected.buffer))) return `rank ${rank} has other numbers in ${name}`;
    }
  }
  return status === 0 && stderr === '' ? undefined : `rank ${rank} ended with ${status}: ${stderr}`;
}
