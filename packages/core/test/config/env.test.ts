import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { environment } from '../../src/config/env.js';

const VARIABLES = [
  'HF_HOME',
  'HF_HUB_CACHE',
  'HF_TOKEN',
  'HF_HUB_OFFLINE',
  'HF_ENDPOINT',
  'XDG_CACHE_HOME',
  'WORLD_SIZE',
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
    expect(env).toMatchObject({ hfHubOffline: false, worldSize: 1 });
    expect('hfToken' in env).toBe(false);
  });

  it('reads what is set', () => {
    vi.stubEnv('HF_HOME', 'hf');
    vi.stubEnv('HF_TOKEN', 'secret');
    vi.stubEnv('HF_HUB_OFFLINE', 'True');
    vi.stubEnv('WORLD_SIZE', '4');
    expect(environment()).toMatchObject({
      hfHome: 'hf',
      hfHubCache: join('hf', 'hub'),
      hfToken: 'secret',
      hfHubOffline: true,
      worldSize: 4,
    });
  });

  it.each([
    ['WORLD_SIZE', '0'],
    ['WORLD_SIZE', 'x'],
  ])('refuses %s=%s', (name, value) => {
    vi.stubEnv(name, value);
    expect(() => environment()).toThrow(`The environment variable ${name} is "${value}"`);
  });
});
