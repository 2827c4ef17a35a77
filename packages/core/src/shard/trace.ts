/** What the ranks did when, in the Chrome trace format (chrome://tracing, Perfetto): computing, waiting, communicating. */
import { type CollectiveSpan, type Communicator, takeSpans } from '@sralign/native';
import { writeFileAtomic } from '../files.js';

/** Follows the passes through the units of a model. */
export interface Trace {
  /** Opens a span; spans nest. */
  begin(name: string, category: 'step' | 'forward' | 'backward'): void;
  /** Closes the span that was opened last. */
  end(): void;
  /** Runs `body` as a span of waiting for other ranks. */
  waiting(name: string, body: () => void): void;
}

/** Follows nothing. */
export const NO_TRACE: Trace = { begin: () => {}, end: () => {}, waiting: (_name, body) => body() };

/** A "complete" event: times in microseconds since the epoch. */
interface TraceEvent {
  readonly name: string;
  readonly cat: string;
  readonly ph: 'X';
  readonly ts: number;
  readonly dur: number;
  /** The rank. */
  readonly pid: number;
  readonly tid: number;
  readonly args?: Readonly<Record<string, number>>;
}

/** Rows of a rank. */
const COMPUTING = 0;
const COMMUNICATING = 1;

/** What the passes of all ranks waited for, of all that was communicated. */
export interface Overlap {
  /** Time the communication was under way, summed over ranks; 0 where the device does not tell (GPUs). */
  readonly communicationMs: number;
  readonly waitingMs: number;
  /** 1 - waiting / communication; null where the device does not tell. */
  readonly hidden: number | null;
}

export class TraceRecorder implements Trace {
  private readonly events: TraceEvent[] = [];
  private readonly open: { readonly name: string; readonly category: string; readonly startUs: number }[] =
    [];

  constructor(private readonly communicator: Communicator) {}

  begin(name: string, category: string): void {
    this.open.push({ name, category, startUs: nowUs() });
  }

  end(): void {
    const { name, category, startUs } = this.open.pop()!;
    this.record(name, category, startUs, nowUs(), COMPUTING);
  }

  waiting(name: string, body: () => void): void {
    const startUs = nowUs();
    body();
    this.record(`wait for ${name}`, 'waiting', startUs, nowUs(), COMPUTING);
  }

  /** Takes over what the communicator has done since the last call. */
  collect(): void {
    for (const span of takeSpans()) this.communicated(span);
  }

  /** Writes the events of all ranks into one file; all ranks call it. */
  async write(file: string): Promise<Overlap> {
    this.collect();
    const events = this.communicator.exchange(this.events).flat();
    const totalMs = (category: string): number =>
      events.filter(({ cat }) => cat === category).reduce((sum, { dur }) => sum + dur / 1000, 0);
    const [communicationMs, waitingMs] = [totalMs('communication'), totalMs('waiting')];
    if (this.communicator.rank === 0) {
      const names = this.communicator.hosts.flatMap((host, pid) => [
        { name: 'process_name', ph: 'M', pid, args: { name: `rank ${pid} (${host})` } },
        { name: 'thread_name', ph: 'M', pid, tid: COMPUTING, args: { name: 'computation' } },
        { name: 'thread_name', ph: 'M', pid, tid: COMMUNICATING, args: { name: 'communication' } },
      ]);
      const lines = [...names, ...events].map(event => JSON.stringify(event));
      await writeFileAtomic(file, `{"traceEvents": [\n${lines.join(',\n')}\n]}\n`);
    }
    return {
      communicationMs,
      waitingMs,
      hidden: communicationMs === 0 ? null : 1 - waitingMs / communicationMs,
    };
  }

  private communicated({ name, startUs, endUs, bytes }: CollectiveSpan): void {
    this.record(name, 'communication', startUs, endUs, COMMUNICATING, { bytes });
  }

  private record(
    name: string,
    cat: string,
    startUs: number,
    endUs: number,
    tid: number,
    args?: Readonly<Record<string, number>>,
  ): void {
    this.events.push({
      ...{ name, cat, ph: 'X', ts: startUs, dur: endUs - startUs, pid: this.communicator.rank, tid },
      ...(args && { args }),
    });
  }
}

const nowUs = (): number => (performance.timeOrigin + performance.now()) * 1000;
