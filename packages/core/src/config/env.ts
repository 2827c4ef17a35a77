/** The environment variables sralign honours. This is the only file that reads `process.env`. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../errors.js';

export interface Environment {
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
  /** WORLD_SIZE: number of processes. */
  readonly worldSize: number;
}

/**
 * Reads the environment. An empty variable counts as not set.
 *
 * @throws ConfigError when WORLD_SIZE is not a whole number of at least 1
 */
export function environment(): Environment {
  const read = (name: string): string | undefined => process.env[name] || undefined;
  const cacheHome = read('XDG_CACHE_HOME') ?? join(homedir(), '.cache');
  const hfHome = read('HF_HOME') ?? join(cacheHome, 'huggingface');
  const hfToken = read('HF_TOKEN');
  const worldSize = Number(read('WORLD_SIZE') ?? 1);
  if (!Number.isSafeInteger(worldSize) || worldSize < 1) {
    throw new ConfigError(`The environment variable WORLD_SIZE is "${read('WORLD_SIZE')}".`, {
      hint: 'Expected a whole number from 1.',
    });
  }
  return {
    hfHome,
    hfHubCache: read('HF_HUB_CACHE') ?? join(hfHome, 'hub'),
    ...(hfToken === undefined ? {} : { hfToken }),
    hfHubOffline: /^(1|true|yes|on)$/i.test(read('HF_HUB_OFFLINE') ?? ''),
    hfEndpoint: read('HF_ENDPOINT') ?? 'https://huggingface.co',
    worldSize,
  };
}
