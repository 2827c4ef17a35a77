/** The world of a process as the environment describes it; jobs of several ranks are in packages/cli/test/launch.test.ts. */
import { SOLO } from '@sralign/native';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { deviceOfRank, failWorld, joinWorld, leaveWorld, worldCommunicator } from '../../src/comm/world.js';
import { ConfigError } from '../../src/errors.js';

const VARIABLES = ['WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'CUDA_VISIBLE_DEVICES'];

describe('the world', () => {
  beforeEach(() => {
    for (const name of VARIABLES) vi.stubEnv(name, undefined);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('of one process needs nobody', () => {
    expect(joinWorld()).toMatchObject({ rank: 0, worldSize: 1 });
    expect(worldCommunicator('cpu')).toBe(SOLO);
    failWorld('nobody to tell', 1);
    leaveWorld();
  });

  it.each([[{}], [{ MASTER_ADDR: 'host-a' }], [{ MASTER_PORT: '29500' }]])(
    'of several cannot be joined with %j alone',
    variables => {
      for (const [name, value] of Object.entries({ WORLD_SIZE: '2', RANK: '1', ...variables }))
        vi.stubEnv(name, value);
      expect(joinWorld).toThrow(ConfigError);
      expect(joinWorld).toThrow(/rank 1 of 2.*MASTER_ADDR and MASTER_PORT/);
    },
  );
});

describe('the device of a rank', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it.each([
    ['cpu', 3, undefined, 'cpu'],
    ['cuda', 0, undefined, 'cuda'],
    ['cuda', 3, undefined, 'cuda:3'],
    ['cuda', 3, '4,5,6,7', 'cuda:3'],
    ['cuda', 3, '5', 'cuda'],
    ['cuda:1', 3, undefined, 'cuda:1'],
  ] as const)(
    '%s with local rank %i and CUDA_VISIBLE_DEVICES %s is %s',
    (device, localRank, visible, expected) => {
      vi.stubEnv('CUDA_VISIBLE_DEVICES', visible);
      expect(deviceOfRank(device, localRank)).toBe(expected);
    },
  );
});
