/** What of mpirun's standard error a user of `sralign launch` should see: the ranks' lines, and who was killed. */
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Begins what a rank says of its end, or one for all of them. */
const SAID = /^(sralign|error): /;
/** mpirun puts its own messages between two such lines. */
const RULE = /^-{60,}$/;
/** It repeats at length that the job has failed, which the ranks have said already, with the reason. */
const REPETITION =
  /^(Primary job +terminated normally, but|mpirun detected that one or more processes exited)/;
/** Which rank the one with the exit code was: [job, rank]. */
const EXITED = /Process name: \[\[\d+,\d+\],(\d+)\]\s+Exit code:\s+(\d+)/;
/** It ends the ranks as soon as one is killed, before the control channel can tell. */
const KILLED = /process rank (\d+) with PID \d+ on node (\S+) exited on signal (\d+) \((.+)\)/;

/** Open MPI reads the memory of a process that is gone; mpirun passes on a request to stop, which the ranks announce. */
const ASIDE = /^(\[\S+:\d+\] Read -1, expected \d+, errno = \d+|mpirun: Forwarding signal \d+ to job)$/;

export interface Ending {
  /** Which rank was killed, as mpirun tells. */
  readonly killed: string | null;
  /** Which rank ended first, with what exit code, as mpirun tells. */
  readonly exited: string | null;
  /** Whether the ranks have said why the job failed. */
  readonly explained: boolean;
}

/** Passes `errors` on to `write` line by line, without mpirun's repetitions; returns when `errors` ends. */
export async function relayErrors(errors: Readable, write: (text: string) => void): Promise<Ending> {
  let own: string[] | null = null; // lines of a message of mpirun
  let killed: string | null = null;
  let exited: string | null = null;
  let explained = false;
  for await (const line of createInterface({ input: errors })) {
    const rule = RULE.test(line);
    if (own === null && rule) own = [];
    else if (own === null) {
      explained ||= SAID.test(line);
      if (!ASIDE.test(line)) write(`${line}\n`);
    } else if (SAID.test(line)) {
      // A rank may say why the job failed while mpirun is writing.
      explained = true;
      write(`${line}\n`);
    } else if (!rule) own.push(line);
    else {
      const message = own.join('\n');
      killed ??= killedIn(message);
      exited ??= exitedIn(message);
      if (!KILLED.test(message) && !REPETITION.test(message)) write(`${message}\n`);
      own = null;
    }
  }
  if (own !== null) write(`${own.join('\n')}\n`);
  return { killed, exited, explained };
}

function exitedIn(message: string): string | null {
  const [found, rank, code] = EXITED.exec(message) ?? [];
  return found === undefined ? null : `rank ${rank} ended with exit code ${code} and did not say why`;
}

function killedIn(message: string): string | null {
  const [found, rank, host, signal, name] = KILLED.exec(message) ?? [];
  if (found === undefined) return null;
  const how =
    signal === '9'
      ? 'was killed, by someone or because memory ran out'
      : `ended by signal ${signal} (${name})`;
  return `rank ${rank} on ${host} ${how}`;
}
