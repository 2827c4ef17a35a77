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
  /** NO_COLOR: plain terminal output. */
  readonly noColor: boolean;
  /** RANK: index of this process among all, from 0. */
  readonly rank: number;
  /** WORLD_SIZE: number of processes. */
  readonly worldSize: number;
  /** LOCAL_RANK: index of this process on its machine, from 0. */
  readonly localRank: number;
}

/**
 * Reads the environment. An empty variable counts as not set.
 *
 * @throws ConfigError when RANK, WORLD_SIZE or LOCAL_RANK is not a number in range
 */
export function environment(): Environment {
  const read = (name: string): string | undefined => process.env[name] || undefined;
  const cacheHome = read('XDG_CACHE_HOME') ?? join(homedir(), '.cache');
  const hfHome = read('HF_HOME') ?? join(cacheHome, 'huggingface');
  const hfToken = read('HF_TOKEN');
  const worldSize = readInteger('WORLD_SIZE', read('WORLD_SIZE'), 1, 1, Number.MAX_SAFE_INTEGER);
  return {
    hfHome,
    hfHubCache: read('HF_HUB_CACHE') ?? join(hfHome, 'hub'),
    ...(hfToken === undefined ? {} : { hfToken }),
    hfHubOffline: /^(1|true|yes|on)$/i.test(read('HF_HUB_OFFLINE') ?? ''),
    hfEndpoint: read('HF_ENDPOINT') ?? 'https://huggingface.co',
    noColor: read('NO_COLOR') !== undefined,
    worldSize,
    rank: readInteger('RANK', read('RANK'), 0, 0, worldSize - 1),
    localRank: readInteger('LOCAL_RANK', read('LOCAL_RANK'), 0, 0, worldSize - 1),
  };
}

function readInteger(name: string, value: string | undefined, fallback: number, min: number, max: number) {
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw new ConfigError(`The environment variable ${name} is "${value}".`, {
      hint: `Expected a whole number from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}.`,
    });
  }
  return number;
}
