import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { environment } from '../../src/config/env.js';

const VARIABLES = [
  ...['HF_HOME', 'HF_HUB_CACHE', 'HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_ENDPOINT', 'XDG_CACHE_HOME', 'NO_COLOR'],
  ...['RANK', 'WORLD_SIZE', 'LOCAL_RANK'],
];

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
    expect(env).toMatchObject({ hfHubOffline: false, noColor: false, rank: 0, worldSize: 1, localRank: 0 });
    expect('hfToken' in env).toBe(false);
  });

  it('reads what is set', () => {
    vi.stubEnv('HF_HOME', 'hf');
    vi.stubEnv('HF_TOKEN', 'secret');
    vi.stubEnv('HF_HUB_OFFLINE', 'True');
    vi.stubEnv('NO_COLOR', '');
    vi.stubEnv('WORLD_SIZE', '4');
    vi.stubEnv('RANK', '3');
    expect(environment()).toMatchObject({
      hfHome: 'hf',
      hfHubCache: join('hf', 'hub'),
      hfToken: 'secret',
      hfHubOffline: true,
      noColor: false,
      rank: 3,
      worldSize: 4,
    });
  });

  it.each([
    ['RANK', '1'],
    ['WORLD_SIZE', '0'],
    ['LOCAL_RANK', 'x'],
  ])('refuses %s=%s', (name, value) => {
    vi.stubEnv(name, value);
    expect(() => environment()).toThrow(`The environment variable ${name} is "${value}"`);
  });
});
