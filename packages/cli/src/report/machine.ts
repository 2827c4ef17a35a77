/** What `sralign doctor` looks at: versions, processor, memory, GPU, and what is missing on this machine. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import type { CudaInfo } from '@sralign/native';

/** The engine, or why it does not load. */
export type Engine =
  | { loaded: false; reason: string }
  | {
      loaded: true;
      processor: string;
      instructionSets: string[];
      /** Which build of our own kernels runs. */
      kernels: string;
      oneDnnVersion: string;
      /** The instruction set that oneDNN uses for matrix products. */
      oneDnnIsa: string;
      /** Whether bf16 is computed by the processor, or rounded and computed in f32. */
      nativeBf16: boolean;
      cores: number;
      threads: number;
      /** Whether several processes can train together on processors. */
      mpi: boolean;
      /** What the CUDA backend finds, or why it finds nothing. */
      cuda: CudaInfo;
    };

export interface Finding {
  /** `problem`: sralign cannot work, or not as asked. `note`: good to know. */
  level: 'problem' | 'note';
  text: string;
  /** The command or setting that changes it. */
  fix?: string;
}

export interface Machine {
  versions: { sralign: string; node: string; platform: string };
  engine: Engine;
  memoryBytes: { total: number; available: number };
  /** Names of the GPUs that the NVIDIA driver shows. */
  gpus: string[];
  findings: Finding[];
}

export async function inspectMachine(version: string): Promise<Machine> {
  const engine = await inspectEngine();
  const total = totalmem();
  const limit = process.constrainedMemory();
  const memoryBytes = {
    total: limit > 0 && limit < total ? limit : total,
    available: process.availableMemory(),
  };
  const gpus = nvidiaGpus();
  return {
    versions: {
      sralign: version,
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    },
    engine,
    memoryBytes,
    gpus,
    findings: [
      ...nodeFindings(),
      ...engineFindings(engine),
      ...memoryFindings(memoryBytes),
      ...gpuFindings(gpus, engine),
    ],
  };
}

async function inspectEngine(): Promise<Engine> {
  try {
    const native = await import('@sralign/native');
    const cpu = native.cpuInfo();
    return {
      loaded: true,
      processor: cpu.model,
      instructionSets: cpu.instructionSets,
      kernels: cpu.kernels,
      oneDnnVersion: cpu.oneDnnVersion,
      oneDnnIsa: cpu.oneDnnIsa,
      nativeBf16: cpu.nativeBf16,
      cores: cpu.cores,
      threads: native.threads(),
      mpi: native.isMpiBuilt(),
      cuda: native.cudaInfo(),
    };
  } catch (error) {
    return { loaded: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** GPUs by the files that the NVIDIA driver shows; none without a driver. */
function nvidiaGpus(folder = '/proc/driver/nvidia/gpus'): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map(bus => {
    const model = /^Model:\s*(.+)$/m.exec(readFileSync(`${folder}/${bus}/information`, 'utf8'))?.[1];
    return model ?? `NVIDIA GPU ${bus}`;
  });
}

function nodeFindings(): Finding[] {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return [];
  return [
    {
      level: 'problem',
      text: `Node ${process.versions.node} is too old`,
      fix: 'install Node 20.19 or newer',
    },
  ];
}

function engineFindings(engine: Engine): Finding[] {
  if (!engine.loaded)
    return [
      { level: 'problem', text: `the native engine does not load: ${engine.reason}`, fix: 'npm run setup' },
    ];
  const findings: Finding[] = [];
  if (engine.kernels === 'portable')
    findings.push({ level: 'note', text: 'no AVX2: the portable kernels run, several times slower' });
  if (!engine.nativeBf16)
    findings.push({
      level: 'note',
      text: 'no AVX512_BF16 or AMX: dtype bf16 works, but is slower than f32 here',
      fix: 'training.dtype: f32',
    });
  if (engine.threads < availableParallelism())
    findings.push({
      level: 'note',
      text: `${engine.threads} of ${availableParallelism()} processors would be used`,
      fix: 'training.threads, or the environment variable OMP_NUM_THREADS',
    });
  return findings;
}

function memoryFindings(memory: Machine['memoryBytes']): Finding[] {
  const needed = 2 * 1024 ** 3;
  if (memory.available >= needed) return [];
  return [
    { level: 'note', text: 'less than 2 GiB of memory is free: only very small models can be trained' },
  ];
}

function gpuFindings(gpus: string[], engine: Engine): Finding[] {
  if (gpus.length === 0 || !engine.loaded || engine.cuda.devices.length > 0) return [];
  const text = `a GPU is present, but not usable: ${engine.cuda.reason}`;
  return [{ level: 'note', text, fix: 'npm run build:cuda' }];
}
