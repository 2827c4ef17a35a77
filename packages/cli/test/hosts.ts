/**
 * Two hosts on one machine: network namespaces with a cable between them, a host name each, and mpirun of Open MPI,
 * which starts ranks on both as it does over ssh. So a test can cut the network and kill ranks "elsewhere".
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { type Outcome, ROOT, runCommand, TemporaryFolder } from './run.js';

export interface RankProcess {
  readonly rank: number;
  readonly pid: number;
  /** Name of its host. */
  readonly host: string;
}

const NETWORK = '10.97.1';
const CABLE = 'cable';
/** mpirun says so when the launch agent was quicker than itself. It means nothing. */
const TOO_LATE = /^\[.*\] plm:rsh: Warning: setpgid.*\n/gm;
/** Node program: tries until the host of its argument refuses a connection, as nobody listens there. */
const KNOCK = `
  const deadline = Date.now() + 20_000;
  const knock = () => net.connect(1, process.argv[1]).on('error', error => {
    if (error.code === 'ECONNREFUSED') return;
    if (Date.now() > deadline) throw error;
    setTimeout(knock, 100);
  });
  knock();`;
let created = 0;

/** Why this machine cannot have the two hosts; null where it can. */
export function unavailable(): string | null {
  if (process.getuid?.() !== 0) return 'it needs root';
  try {
    if (!run('mpirun', '--version').includes('Open MPI')) return 'mpirun is not that of Open MPI';
    using hosts = new TwoHosts();
    hosts.on(1, 'true');
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** All of it, its processes too, is gone at the end of the scope, or else of this process. */
export class TwoHosts implements Disposable {
  /** Of the hosts, and of their namespaces. mpirun and rank 0 are on the first. */
  readonly names: readonly [string, string];
  /** Of its own files, and of those that mpirun and the ranks share. */
  readonly folder = new TemporaryFolder();
  private readonly caretaker: ChildProcess;

  /** @throws Error with what `ip` says */
  constructor() {
    const name = `sralign-${process.pid}-${created++}`;
    this.names = [`${name}-a`, `${name}-b`];
    this.caretaker = removeWithThisProcess(this.removal());
    try {
      this.create();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Runs `program` as `ranksPerHost` ranks on each host: the first ranks on the first host. As over ssh, the second
   * host gets neither the environment nor the standard input of mpirun. `onStart` gets mpirun while it runs.
   */
  async mpirun(
    ranksPerHost: number,
    program: readonly string[],
    onStart?: (mpirun: ChildProcess) => void,
  ): Promise<Outcome> {
    const hosts = this.names.map(name => `${name}:${ranksPerHost}`).join(',');
    const mca = {
      plm_rsh_agent: this.folder.join('agent.sh'),
      oob_tcp_if_include: `${NETWORK}.0/24`,
      btl_tcp_if_include: `${NETWORK}.0/24`,
      btl: 'self,vader,tcp',
      // Reading another rank's memory fails loudly when that rank is killed meanwhile.
      btl_vader_single_copy_mechanism: 'none',
      // Where mpirun would leave its files when it is killed.
      orte_tmpdir_base: this.folder.path,
      btl_vader_backing_directory: this.folder.path,
    };
    const command = [
      ...[this.names[0], 'mpirun', '-np', String(2 * ranksPerHost), '--host', hosts],
      ...['--oversubscribe', '--bind-to', 'none', '--quiet'],
      ...Object.entries(mca).flatMap(([key, value]) => ['--mca', key, value]),
      ...program,
    ];
    const outcome = await runCommand(this.folder.join('enter.sh'), command, ROOT, onStart, {
      ...process.env,
      OMPI_ALLOW_RUN_AS_ROOT: '1',
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
    });
    return { ...outcome, stderr: outcome.stderr.replaceAll(TOO_LATE, '') };
  }

  /** Runs a command on a host; returns what it prints. */
  on(host: 0 | 1, ...command: string[]): string {
    return run(this.folder.join('enter.sh'), this.names[host], ...command);
  }

  /** The node processes of mpirun that run now, by rank. */
  ranks(): RankProcess[] {
    return this.names
      .flatMap(host => processesIn(host).flatMap(pid => rankProcess(pid, host)))
      .sort((a, b) => a.rank - b.rank);
  }

  /** Processes of any kind on the hosts, mpirun and its daemon among them. */
  processes(): number[] {
    return this.names.flatMap(processesIn);
  }

  /** Takes the network down between the hosts. */
  cut(): void {
    run('ip', '-n', this.names[0], 'link', 'set', CABLE, 'down');
  }

  /** Returns when the hosts reach each other again. */
  mend(): void {
    run('ip', '-n', this.names[0], 'link', 'set', CABLE, 'up');
    this.on(0, process.execPath, '-e', KNOCK, this.names[1]);
    this.on(1, process.execPath, '-e', KNOCK, this.names[0]);
  }

  [Symbol.dispose](): void {
    spawnSync('sh', ['-c', this.removal()], { input: '' });
    this.caretaker.stdin!.end();
  }

  /** Shell script: removes everything when its standard input ends; a second time it finds nothing. */
  private removal(): string {
    // Kills more than once, as a process may start another before it ends; not for ever, should the kernel hold one.
    return `
      read -r line
      for name in ${this.names.join(' ')}; do
        tries=0
        while [ $tries -lt 1000 ] && pids=$(ip netns pids $name) && [ -n "$pids" ]; do
          kill -KILL $pids
          tries=$((tries + 1))
        done
        ip netns del $name
      done
      rm -rf ${this.folder.path}`;
  }

  private create(): void {
    const [a, b] = this.names;
    for (const name of this.names) run('ip', 'netns', 'add', name);
    run('ip', 'link', 'add', CABLE, 'netns', a, 'type', 'veth', 'peer', 'name', CABLE, 'netns', b);
    for (const [index, name] of this.names.entries()) {
      run('ip', '-n', name, 'addr', 'add', `${NETWORK}.${index + 1}/24`, 'dev', CABLE);
      for (const device of ['lo', CABLE]) run('ip', '-n', name, 'link', 'set', device, 'up');
    }
    const hosts = this.folder.write('hosts', `127.0.0.1 localhost\n${NETWORK}.1 ${a}\n${NETWORK}.2 ${b}\n`);
    // "enter.sh HOST COMMAND...". Without the lower limit, mpirun and its daemon on the other host would notice only
    // after a quarter of an hour that what they have to say to each other does not arrive.
    const enter = this.script('enter.sh', [
      'name=$1; shift',
      `exec ip netns exec "$name" unshare --uts sh -c '`,
      `  mount --bind ${hosts} /etc/hosts && hostname "$0" &&`,
      '  echo 5 > /proc/sys/net/ipv4/tcp_retries2 &&',
      `  exec "$@"' "$name" "$@"`,
    ]);
    this.script('agent.sh', [
      'name=$1; shift',
      `exec env -i PATH="$PATH" HOME="$HOME" ${enter} "$name" sh -c "$*" < /dev/null`,
    ]);
  }

  private script(name: string, lines: readonly string[]): string {
    const file = this.folder.write(name, `${['#!/bin/sh', ...lines].join('\n')}\n`);
    chmodSync(file, 0o755);
    return file;
  }
}

function processesIn(namespace: string): number[] {
  const { stdout } = spawnSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' });
  return (stdout ?? '').split('\n').filter(Boolean).map(Number);
}

/** `[]` for a process that is no rank, or has just ended. */
function rankProcess(pid: number, host: string): RankProcess[] {
  try {
    if (readlinkSync(`/proc/${pid}/exe`) !== process.execPath) return [];
    const variable = /(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)\0/.exec(
      readFileSync(`/proc/${pid}/environ`, 'utf8'),
    );
    return variable === null ? [] : [{ rank: Number(variable[1]), pid, host }];
  } catch {
    return [];
  }
}

/** Runs `script` when this process ends, however that comes: a test that takes too long gets no chance to tidy up. */
function removeWithThisProcess(script: string): ChildProcess {
  const waiting = spawn('sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  waiting.unref();
  (waiting.stdin as Socket).unref();
  return waiting;
}

/** @throws Error naming the command and what it said */
function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return stdout;
  throw new Error(`"${[command, ...args].join(' ')}": ${error?.message ?? stderr.trim()}`);
}
