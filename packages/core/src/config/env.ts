/** The environment variables sralign honours. This is the only file of the package that reads `process.env`. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../errors.js';

/** The place of this process in its job; without a launcher a job of one process. */
export interface Ranks {
  /** WORLD_SIZE, else OMPI_COMM_WORLD_SIZE, else in a Slurm step SLURM_STEP_NUM_TASKS: number of processes. */
  readonly worldSize: number;
  /** RANK, else OMPI_COMM_WORLD_RANK, else in a Slurm step SLURM_PROCID: of this process, from 0. */
  readonly rank: number;
  /** LOCAL_RANK, else OMPI_COMM_WORLD_LOCAL_RANK, else in a Slurm step SLURM_LOCALID: among those of this host. */
  readonly localRank: number;
  /** LOCAL_WORLD_SIZE, else OMPI_COMM_WORLD_LOCAL_SIZE: number of processes on this host, where it is known. */
  readonly localWorldSize?: number;
  /** Whether mpirun, or srun with PMIx, started this process, so that MPI can find the others. */
  readonly underMpi: boolean;
  /** MASTER_ADDR: host name or address of rank 0. */
  readonly masterAddress?: string;
  /** MASTER_PORT: where rank 0 listens. */
  readonly masterPort?: number;
  /** CUDA_VISIBLE_DEVICES: how many GPUs this process may use, where that is set. */
  readonly visibleGpus?: number;
}

export interface Environment extends Ranks {
  /** XDG_CACHE_HOME: what can be made again; default `~/.cache`. */
  readonly cacheHome: string;
  /** HF_HOME: root of Hugging Face's local files. */
  readonly hfHome: string;
  /** HF_HUB_CACHE: folder of downloaded models; default `<hfHome>/hub`. */
  readonly hfHubCache: string;
  /** HF_TOKEN: access token for private and gated models. */
  readonly hfToken?: string;
  /** HF_HUB_OFFLINE: use local files only. */
  readonly hfHubOffline: boolean;
  /** HF_ENDPOINT: address of the hub. */
  readonly hfEndpoint: string;
}

/**
 * Reads the environment. An empty variable counts as not set.
 *
 * @throws ConfigError naming the variable that is no whole number, is out of range, is missing beside another, or
 *   says something else than another
 */
export function environment(): Environment {
  const cacheHome = readFolder('XDG_CACHE_HOME') ?? join(homedir(), '.cache');
  const hfHome = readFolder('HF_HOME') ?? join(cacheHome, 'huggingface');
  const hfToken = hubToken();
  return {
    cacheHome,
    hfHome,
    hfHubCache: readFolder('HF_HUB_CACHE') ?? join(hfHome, 'hub'),
    ...(hfToken === undefined ? {} : { hfToken }),
    hfHubOffline: /^(1|true|yes|on)$/i.test(read('HF_HUB_OFFLINE') ?? ''),
    hfEndpoint: read('HF_ENDPOINT') ?? 'https://huggingface.co',
    ...ranks(),
  };
}

function ranks(): Ranks {
  // srun sets SLURM_STEP_NUM_TASKS for the processes it starts. The script of a batch job is one process, though its
  // SLURM_NTASKS is that of the job.
  const slurm = read('SLURM_STEP_NUM_TASKS') !== undefined;
  const ofSlurm = (name: string): string[] => (slurm ? [name] : []);
  const worldSize = agreed(1, ['WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE'], ofSlurm('SLURM_STEP_NUM_TASKS'));
  const rank = agreed(0, ['RANK', 'OMPI_COMM_WORLD_RANK'], ofSlurm('SLURM_PROCID'));
  const localRank = agreed(0, ['LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'], ofSlurm('SLURM_LOCALID'));
  if (rank !== undefined && worldSize === undefined) {
    throw new ConfigError(`${rank.name} is set, but WORLD_SIZE is not.`, {
      hint: 'Set RANK, WORLD_SIZE and LOCAL_RANK together, or none of them.',
    });
  }
  const size = worldSize?.value ?? 1;
  if (worldSize !== undefined && size > 1 && rank === undefined) {
    throw new ConfigError(`${worldSize.name} is ${size}, but RANK is not set.`, {
      hint: 'Set RANK to 0, 1, ... in each process, or let `sralign launch`, mpirun or srun start them.',
    });
  }
  for (const of of [rank, localRank]) {
    if (of === undefined || of.value < size) continue;
    throw new ConfigError(`${of.name} is ${of.value}, but ${worldSize?.name ?? 'WORLD_SIZE'} is ${size}.`, {
      hint: 'Ranks count from 0 to WORLD_SIZE - 1.',
    });
  }
  const localWorldSize = agreed(1, ['LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'], []);
  const masterAddress = read('MASTER_ADDR');
  const masterPort = wholeNumber('MASTER_PORT', 1, 65535);
  const visibleGpus = read('CUDA_VISIBLE_DEVICES')?.split(',').length;
  return {
    worldSize: size,
    rank: rank?.value ?? 0,
    localRank: localRank?.value ?? 0,
    underMpi: read('OMPI_COMM_WORLD_SIZE') !== undefined || read('PMIX_RANK') !== undefined,
    ...(localWorldSize === undefined ? {} : { localWorldSize: localWorldSize.value }),
    ...(masterAddress === undefined ? {} : { masterAddress }),
    ...(masterPort === undefined ? {} : { masterPort }),
    ...(visibleGpus === undefined ? {} : { visibleGpus }),
  };
}

/** More than any job has: a mistyped number must not become memory and minutes. */
export const MAX_RANKS = 2 ** 20;

interface Variable {
  readonly name: string;
  readonly value: number;
}

/**
 * The first variable that is set, of `names` and then of `fallbacks`. Those of `names` must agree: a RANK left over from
 * another launcher would give two processes the same place.
 */
function agreed(
  minimum: number,
  names: readonly string[],
  fallbacks: readonly string[],
): Variable | undefined {
  const set = (name: string): Variable[] => {
    const value = wholeNumber(name, minimum, MAX_RANKS);
    return value === undefined ? [] : [{ name, value }];
  };
  const [first, ...others] = names.flatMap(set);
  const other = others.find(({ value }) => value !== first?.value);
  if (first !== undefined && other !== undefined) {
    throw new ConfigError(
      `The environment says ${first.name}=${first.value} and ${other.name}=${other.value}.`,
      { hint: `Unset ${first.name}: mpirun tells every process its rank.` },
    );
  }
  return first ?? fallbacks.flatMap(set)[0];
}

function wholeNumber(name: string, minimum: number, maximum = Number.MAX_SAFE_INTEGER): number | undefined {
  const text = read(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
    throw new ConfigError(`The environment variable ${name} is "${text}".`, {
      hint: `Expected a whole number from ${minimum}${maximum === Number.MAX_SAFE_INTEGER ? '' : ` to ${maximum}`}.`,
    });
  }
  return value;
}

/** `~` and `~/...` as the folder of this user: a shell does not see the paths of a file or behind `--set key=`. */
export function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
}

/** HF_TOKEN alone, whatever the other variables hold. */
export const hubToken = (): string | undefined => read('HF_TOKEN');

const read = (name: string): string | undefined => process.env[name] || undefined;

const readFolder = (name: string): string | undefined => {
  const folder = read(name);
  return folder === undefined ? undefined : expandHome(folder);
};
