/** How much memory this process may still take. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cudaInfo, type DeviceName } from '@sralign/native';

export interface AvailableMemory {
  readonly bytes: number;
  /** What says so, for people. */
  readonly source: string;
}

/**
 * Of the device: free memory of a GPU; on the CPU what the machine can give without swapping (MemAvailable), or what the
 * limits of the process's control groups leave, where that is less. Cached files count as free: the kernel drops them.
 *
 * @param root where /proc and /sys are
 */
export async function availableMemory(device: DeviceName, root = '/'): Promise<AvailableMemory> {
  if (device !== 'cpu') {
    const index = Number(device.split(':')[1] ?? 0);
    return { bytes: cudaInfo().devices[index]?.freeBytes ?? 0, source: `free memory of ${device}` };
  }
  const machine = kilobytes(await readOptional(join(root, 'proc/meminfo')), 'MemAvailable');
  const candidates = [
    { bytes: machine ?? process.availableMemory(), source: 'available on this machine' },
    ...(await groupLimits(root)),
  ];
  return candidates.reduce((least, candidate) => (candidate.bytes < least.bytes ? candidate : least));
}

/** What each limited control group above this process has left (cgroup v2 and v1). */
async function groupLimits(root: string): Promise<AvailableMemory[]> {
  const found: AvailableMemory[] = [];
  for (const line of ((await readOptional(join(root, 'proc/self/cgroup'))) ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.+)$/.exec(line) ?? [];
    if (path === undefined || (controllers !== '' && !controllers!.split(',').includes('memory'))) continue;
    const version = controllers === '' ? V2 : V1;
    const names = path.split('/').filter(name => name !== '' && name !== '..');
    for (let depth = names.length; depth >= 0; depth--) {
      const folder = join(root, version.mount, ...names.slice(0, depth));
      const limit = Number(await readOptional(join(folder, version.limit)));
      const used = Number(await readOptional(join(folder, version.used)));
      if (!(limit > 0 && limit < UNLIMITED)) continue; // "max" and a missing file are NaN and 0
      const statistics = (await readOptional(join(folder, 'memory.stat'))) ?? '';
      const cached = version.cached.reduce((sum, key) => sum + statistic(statistics, key), 0);
      found.push({
        bytes: Math.max(0, limit - used + cached),
        source: 'left by the limit of the control group',
      });
    }
  }
  return found;
}

/** v1 says so for no limit: the largest multiple of a page. */
const UNLIMITED = 2 ** 60;

const V2 = {
  mount: 'sys/fs/cgroup',
  limit: 'memory.max',
  used: 'memory.current',
  cached: ['active_file', 'inactive_file'],
} as const;
const V1 = {
  mount: 'sys/fs/cgroup/memory',
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
  cached: ['total_active_file', 'total_inactive_file'],
} as const;

const statistic = (text: string, key: string): number =>
  Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);

function kilobytes(text: string | null, key: string): number | undefined {
  const match = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(text ?? '');
  return match === null ? undefined : Number(match[1]) * 1024;
}

const readOptional = (file: string): Promise<string | null> => readFile(file, 'utf8').catch(() => null);
