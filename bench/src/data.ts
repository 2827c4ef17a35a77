/**
 * Times how long a run takes until its data are there, and prints one JSON object: from the start of the process to the
 * run's `start` event, at the first start and at a later one, which finds the encoded data on disk. With --python the Rust
 * library `tokenizers` encodes the same texts with as many threads in alternation, and the ratio is printed too.
 *
 *   npm run bench:data -- [--pairs 160000] [--threads 2] [--rounds 3] [--python PYTHON]
 *
 * PYTHON is an interpreter that can import `tokenizers`. The pairs are made in a temporary folder, which goes at the end.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeHhLike } from './hh-like.js';
import { SHAPES } from './shapes.js';

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '160000' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    python: { type: 'string' },
  },
});
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const TOKENIZER = here('../../examples/tokenizers/gpt-neox-20b');

interface Figures {
  readonly seconds: number;
  readonly peakRssBytes: number;
  readonly [name: string]: number;
}

const folder = await mkdtemp(join(tmpdir(), 'sralign-bench-'));
try {
  const file = join(folder, 'pairs.jsonl');
  const textBytes = await writeHhLike(file, Number(values.pairs));
  const model = join(folder, 'model');
  await cp(TOKENIZER, model, { recursive: true });
  // As small as a model can be: what is timed is the data.
  const shape = { ...SHAPES['pythia-14m'], hidden_size: 32, num_hidden_layers: 1, intermediate_size: 64 };
  await writeFile(join(model, 'config.json'), JSON.stringify(shape));

  const samples = new Map<string, Figures[]>();
  for (let round = 0; round < Number(values.rounds); round++) {
    const cache = join(folder, `cache-${round}`);
    for (const name of ['first start', 'later start']) {
      const run = join(folder, `run-${round}-${name.split(' ')[0]}`);
      push(samples, name, await timed(process.execPath, [here('data-start.js'), file, model, cache, run]));
    }
    await rm(cache, { recursive: true });
    for (const call of values.python === undefined ? [] : ['encode_batch', 'encode_batch_fast']) {
      const script = here('../peer/data.py');
      push(
        samples,
        call,
        await timed(values.python!, [script, file, join(TOKENIZER, 'tokenizer.json'), call]),
      );
    }
  }
  const medians = Object.fromEntries([...samples].map(([name, list]) => [name, medianOf(list)]));
  const peer = Math.min(
    ...['encode_batch', 'encode_batch_fast'].map(call => medians[call]?.seconds ?? Infinity),
  );
  const report = {
    machine: { model: cpus()[0]!.model, processors: availableParallelism(), node: process.version },
    pairs: Number(values.pairs),
    textMegabytes: rounded(textBytes / 1e6),
    threads: Number(values.threads),
    rounds: Number(values.rounds),
    medians,
    ...(values.python !== undefined && {
      ratios: {
        'first start / the faster call of tokenizers': rounded(medians['first start']!.seconds / peer),
      },
    }),
  };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Runs a program, which prints figures as JSON, from its start to its end. */
async function timed(program: string, args: readonly string[]): Promise<Figures> {
  // These variables pin OpenBLAS to an old kernel on some machines; the peer runs without them.
  const { OPENBLAS_CORETYPE: _core, OPENBLAS_L2_SIZE: _l2, ...environment } = process.env;
  const threads = values.threads;
  const startMs = performance.now();
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...environment,
      OMP_NUM_THREADS: threads,
      RAYON_NUM_THREADS: threads,
      TOKENIZERS_PARALLELISM: 'true',
    },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}.`);
  return {
    seconds: (performance.now() - startMs) / 1000,
    ...(JSON.parse(output) as { peakRssBytes: number }),
  };
}

function medianOf(list: readonly Figures[]): Figures {
  const names = Object.keys(list[0]!);
  const middle = (name: string): number =>
    list.map(figures => figures[name]!).sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
  return Object.fromEntries(names.map(name => [name, rounded(middle(name))])) as unknown as Figures;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

function push<T>(map: Map<string, T[]>, name: string, value: T): void {
  map.set(name, [...(map.get(name) ?? []), value]);
}
