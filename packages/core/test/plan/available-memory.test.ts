import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { availableMemory } from '../../src/plan/available-memory.js';
import { temporaryFolder } from '../support.js';

const MEMINFO = 'MemTotal:       24000000 kB\nMemAvailable:   20000000 kB\n';

/** The bytes that are available where the system's files say `files`. */
async function available(files: Readonly<Record<string, string>>): Promise<number> {
  await using root = await temporaryFolder();
  for (const [name, text] of Object.entries({ 'proc/meminfo': MEMINFO, ...files })) {
    await mkdir(dirname(join(root.path, name)), { recursive: true });
    await writeFile(join(root.path, name), text);
  }
  return (await availableMemory('cpu', root.path)).bytes;
}

describe('availableMemory', () => {
  it('is what the machine can give where no control group has a limit', async () => {
    expect(await available({})).toBe(20_000_000 * 1024);
    const max = { 'proc/self/cgroup': '0::/job\n', 'sys/fs/cgroup/job/memory.max': 'max\n' };
    expect(await available(max)).toBe(20_000_000 * 1024);
  });

  it('is what the tightest control group above leaves, with cached files as free (v2)', async () => {
    const files = {
      'proc/self/cgroup': '0::/pod/container\n',
      'sys/fs/cgroup/pod/memory.max': '8000000000\n',
      'sys/fs/cgroup/pod/memory.current': '5000000000\n',
      'sys/fs/cgroup/pod/memory.stat': 'anon 100\nactive_file 1500000000\ninactive_file 500000000\n',
      'sys/fs/cgroup/pod/container/memory.max': '7000000000\n',
      'sys/fs/cgroup/pod/container/memory.current': '1000000000\n',
    };
    expect(await available(files)).toBe(5_000_000_000);
  });

  it('reads the limits of v1, also where the path is that of another namespace', async () => {
    const files = {
      'proc/self/cgroup': '4:memory:/docker/abc\n0::/\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '3000000000\n',
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '1000000000\n',
      'sys/fs/cgroup/memory/memory.stat': 'total_active_file 10\ntotal_inactive_file 90\n',
    };
    expect(await available(files)).toBe(2_000_000_100);
    const unlimited = { ...files, 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n' };
    expect(await available(unlimited)).toBe(20_000_000 * 1024);
  });
});
