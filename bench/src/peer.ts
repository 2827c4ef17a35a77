/** A PyTorch process that does the same steps on the same pairs (peer/step.py), driven line by line. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface PeerSetup {
  readonly config: object;
  readonly dtype: string;
  readonly threads: number;
  /** Pairs in one padded batch; more are accumulated. */
  readonly microbatchPairs: number;
  readonly augmentation: readonly number[];
  readonly pairs: readonly { prompt: number[]; chosen: number[]; rejected: number[] }[];
}

export interface PeerAnswer {
  readonly seconds?: number;
  readonly peakRssBytes?: number;
  readonly versions?: Record<string, string>;
}

export class Peer {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly lines: AsyncIterator<string>;
  private readonly reader: Interface;

  private constructor(python: string) {
    // These variables pin OpenBLAS to an old kernel on some machines; the peer runs without them.
    const { OPENBLAS_CORETYPE: _core, OPENBLAS_L2_SIZE: _l2, ...environment } = process.env;
    const script = fileURLToPath(new URL('../peer/step.py', import.meta.url));
    this.child = spawn(python, [script], { env: environment });
    this.child.stderr.pipe(process.stderr);
    this.reader = createInterface(this.child.stdout);
    this.lines = this.reader[Symbol.asyncIterator]();
  }

  static async start(python: string, setup: PeerSetup): Promise<Peer> {
    const peer = new Peer(python);
    await peer.ask(setup);
    return peer;
  }

  /** Sends one request and waits for its answer. */
  async ask(request: object): Promise<PeerAnswer> {
    this.child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.lines.next();
    if (done === true) throw new Error('The peer process ended.');
    return JSON.parse(value) as PeerAnswer;
  }

  async stop(): Promise<void> {
    this.child.stdin.end();
    this.reader.close();
    await once(this.child, 'exit');
  }
}
