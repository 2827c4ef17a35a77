/**
 * A folder for the files of one job of `sralign launch`: Open MPI's shared memory and session. It goes with the launcher, even
 * when mpirun is killed and cleans nothing up; when the launcher is killed, the next one removes it.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Where Linux has shared memory; elsewhere Open MPI has its own places. */
const SHARED_MEMORY = '/dev/shm';

export class LaunchFolder implements Disposable {
  /** null where the system has no shared memory as files. */
  readonly path: string | null;

  /** Makes the folder, and removes those of launchers that are gone. */
  constructor(parent = SHARED_MEMORY) {
    const own = existsSync(parent) ? launcherName(process.pid) : null;
    if (own !== null) removeAbandoned(parent);
    this.path = own === null ? null : mkdtempSync(join(parent, `${own}-`));
  }

  /** What makes Open MPI (4, and 5 with its other name for shared memory) put its files there. */
  get environment(): NodeJS.ProcessEnv {
    if (this.path === null) return {};
    return {
      OMPI_MCA_btl_vader_backing_directory: this.path,
      OMPI_MCA_btl_sm_backing_directory: this.path,
      OMPI_MCA_orte_tmpdir_base: this.path,
    };
  }

  [Symbol.dispose](): void {
    if (this.path !== null) rmSync(this.path, { recursive: true, force: true });
  }
}

/**
 * Names a process so that no other has ever the same: containers may share the folder but not the numbers of processes,
 * and numbers are used again. null where it is gone, or the system does not tell.
 */
function launcherName(pid: number): string | null {
  try {
    const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))![0];
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the name of the program, field 2, ends with the last parenthesis.
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `sralign-launch-${namespace}-${pid}-${startTicks}`;
  } catch {
    return null;
  }
}

function removeAbandoned(parent: string): void {
  const own = launcherName(process.pid)!.split('-')[2]!;
  for (const name of readdirSync(parent)) {
    const [, namespace, pid, start] = /^sralign-launch-(\d+)-(\d+)-(\d+)-/.exec(name) ?? [];
    if (namespace !== own) continue;
    if (launcherName(Number(pid)) === `sralign-launch-${namespace}-${pid}-${start}`) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // Of another user, who removes it.
    }
  }
}
