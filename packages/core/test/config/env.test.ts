import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { environment } from '../../src/config/env.js';
import { ConfigError } from '../../src/errors.js';

const VARIABLES = [
  'HF_HOME',
  'HF_HUB_CACHE',
  'HF_TOKEN',
  'HF_HUB_OFFLINE',
  'HF_ENDPOINT',
  'XDG_CACHE_HOME',
  'WORLD_SIZE',
  'RANK',
  'LOCAL_RANK',
  'LOCAL_WORLD_SIZE',
  'MASTER_ADDR',
  'MASTER_PORT',
  'OMPI_COMM_WORLD_SIZE',
  'OMPI_COMM_WORLD_RANK',
  'OMPI_COMM_WORLD_LOCAL_RANK',
  'OMPI_COMM_WORLD_LOCAL_SIZE',
  'CUDA_VISIBLE_DEVICES',
  'PMIX_RANK',
  'SLURM_NTASKS',
  'SLURM_STEP_NUM_TASKS',
  'SLURM_PROCID',
  'SLURM_LOCALID',
];

/** What mpirun, srun and torchrun set for the second of three processes, on a host of its own. */
const MPIRUN = {
  OMPI_COMM_WORLD_SIZE: '3',
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_RANK: '0',
  OMPI_COMM_WORLD_LOCAL_SIZE: '1',
  PMIX_RANK: '1',
};
const SRUN = { SLURM_NTASKS: '3', SLURM_STEP_NUM_TASKS: '3', SLURM_PROCID: '1', SLURM_LOCALID: '0' };
const TORCHRUN = {
  WORLD_SIZE: '3',
  RANK: '1',
  LOCAL_RANK: '0',
  MASTER_ADDR: 'host-a',
  MASTER_PORT: '29500',
};

function stub(variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
}

describe('environment', () => {
  beforeEach(() => {
    for (const name of VARIABLES) vi.stubEnv(name, undefined);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('has defaults', () => {
    const env = environment();
    expect(env.hfHome).toBe(join(homedir(), '.cache', 'huggingface'));
    expect(env.hfHubCache).toBe(join(env.hfHome, 'hub'));
    expect(env).toMatchObject({ hfHubOffline: false, worldSize: 1, rank: 0, localRank: 0, underMpi: false });
    expect('hfToken' in env).toBe(false);
  });

  it('reads what is set', () => {
    vi.stubEnv('HF_HOME', '~/hf');
    expect(environment()).toMatchObject({
      hfHome: join(homedir(), 'hf'),
      hfHubCache: join(homedir(), 'hf', 'hub'),
    });
    vi.stubEnv('HF_HUB_CACHE', '~/cache');
    expect(environment().hfHubCache).toBe(join(homedir(), 'cache'));
    vi.stubEnv('HF_HUB_CACHE', undefined);
    vi.stubEnv('HF_HOME', 'hf');
    vi.stubEnv('HF_TOKEN', 'secret');
    vi.stubEnv('HF_HUB_OFFLINE', 'True');
    expect(environment()).toMatchObject({
      hfHome: 'hf',
      hfHubCache: join('hf', 'hub'),
      hfToken: 'secret',
      hfHubOffline: true,
    });
  });

  it.each([
    ['mpirun', MPIRUN, { rank: 1, worldSize: 3, localRank: 0, localWorldSize: 1, underMpi: true }],
    ['srun without PMIx', SRUN, { rank: 1, worldSize: 3, localRank: 0, underMpi: false }],
    [
      'srun with PMIx, on one host',
      { ...SRUN, SLURM_LOCALID: '1', PMIX_RANK: '1' },
      { rank: 1, worldSize: 3, localRank: 1, underMpi: true },
    ],
    [
      'torchrun',
      { ...TORCHRUN, LOCAL_RANK: '1' },
      { rank: 1, localRank: 1, underMpi: false, masterAddress: 'host-a', masterPort: 29500 },
    ],
    ['the variables of torchrun in an srun step', { ...SRUN, ...TORCHRUN, RANK: '2' }, { rank: 2 }],
    [
      'mpirun in an srun step of one process per host',
      { ...SRUN, SLURM_STEP_NUM_TASKS: '1', SLURM_PROCID: '0', ...MPIRUN },
      { rank: 1, worldSize: 3 },
    ],
    ['agreeing variables of mpirun and torchrun', { ...MPIRUN, ...TORCHRUN }, { rank: 1, worldSize: 3 }],
    ['RANK and WORLD_SIZE alone', { RANK: '1', WORLD_SIZE: '2' }, { rank: 1, worldSize: 2, localRank: 0 }],
  ])('takes the ranks of %s', (_, variables, expected) => {
    stub(variables);
    expect(environment()).toMatchObject(expected);
  });

  it('counts the script of a Slurm batch job as one process', () => {
    stub({ SLURM_NTASKS: '8', SLURM_PROCID: '0', SLURM_LOCALID: '0' });
    expect(environment()).toMatchObject({ rank: 0, worldSize: 1 });
  });

  it.each([
    ['WORLD_SIZE', '0'],
    ['WORLD_SIZE', 'x'],
    ['WORLD_SIZE', '100000000'],
    ['RANK', '-1'],
    ['RANK', '1.5'],
    ['LOCAL_RANK', 'one'],
    ['MASTER_PORT', '65536'],
    ['OMPI_COMM_WORLD_SIZE', 'many'],
  ])('refuses %s=%s', (name, value) => {
    stub({ WORLD_SIZE: '4', RANK: '0', [name]: value });
    expect(() => environment()).toThrow(`The environment variable ${name} is "${value}"`);
  });

  it.each([
    [{ RANK: '1' }, 'RANK is set, but WORLD_SIZE is not'],
    [{ WORLD_SIZE: '2' }, 'WORLD_SIZE is 2, but RANK is not set'],
    [{ WORLD_SIZE: '2', RANK: '2' }, 'RANK is 2, but WORLD_SIZE is 2'],
    [{ WORLD_SIZE: '2', RANK: '1', LOCAL_RANK: '2' }, 'LOCAL_RANK is 2, but WORLD_SIZE is 2'],
    [{ ...MPIRUN, RANK: '0', WORLD_SIZE: '3' }, 'RANK=0 and OMPI_COMM_WORLD_RANK=1'],
    [{ ...MPIRUN, WORLD_SIZE: '4' }, 'WORLD_SIZE=4 and OMPI_COMM_WORLD_SIZE=3'],
  ])('refuses %j', (variables, message) => {
    stub(variables as Record<string, string>);
    expect(() => environment()).toThrow(ConfigError);
    expect(() => environment()).toThrow(message);
  });
});
