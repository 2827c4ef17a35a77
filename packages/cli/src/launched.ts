/**
 * The ranks' side of `sralign launch`: they end with the launcher, even when it is killed and can tell nobody.
 *
 * mpirun passes its standard input on to rank 0 alone. The launcher holds the other end of that pipe and never writes,
 * so its end means that the launcher is gone; so does the end of mpirun itself. When rank 0 is killed, mpirun ends the
 * other ranks; without mpirun the control channel does.
 *
 * mpirun closes that pipe also when it ends the ranks because one has failed: then rank 0 is to say which, first.
 */

/** More than the control channel needs for its message. */
const PATIENCE_MS = 1500;

/**
 * Set in the environment of the processes that `sralign launch` starts: their arguments, as a JSON array of texts. On its
 * own command line mpirun would read a ":" among them as the beginning of another program.
 */
export const LAUNCHED = 'SRALIGN_LAUNCHED';

/** The commands that several ranks run together. */
export const RANK_COMMANDS: readonly string[] = ['train'];

/** The arguments of this process, without those of Node. */
export function commandArguments(): string[] {
  const launched = isRankOfLaunch() ? process.env[LAUNCHED] : undefined;
  return launched === undefined ? process.argv.slice(2) : (JSON.parse(launched) as string[]);
}

/** The environment is inherited by whatever a rank starts, which has arguments of its own. */
const isRankOfLaunch = (): boolean =>
  process.argv.length === 2 && process.env.OMPI_COMM_WORLD_RANK !== undefined;

/** Whether `sralign launch` started this process. */
export const isLaunched = (): boolean => process.env[LAUNCHED] !== undefined;

/** Call once, at the start. Does not keep the process running. */
export function endWithLauncher(): void {
  if (!isLaunched() || process.env.OMPI_COMM_WORLD_RANK !== '0') return;
  // Not process.exit, which waits for the training thread: it may wait for other ranks.
  const end = (): unknown => setTimeout(() => process.kill(process.pid, 'SIGKILL'), PATIENCE_MS).unref();
  process.stdin.on('end', end).resume();
  process.stdin.unref();
}
