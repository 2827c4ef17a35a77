/**
 * How far work that may last has come. Whoever does it reports here, without knowing who listens; whoever wants to know
 * listens around the call, so that no layer between them has to pass it on. Runs that go on at once do not mix.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Progress {
  readonly phase: 'downloading' | 'reading' | 'encoding' | 'hashing' | 'loading' | 'evaluation' | 'saving';
  /** What it is about, as a file; part of the identity of the work. */
  readonly subject?: string;
  readonly done: number;
  readonly total: number;
  readonly unit: 'bytes' | 'rows' | 'pairs';
}

const listener = new AsyncLocalStorage<(progress: Progress) => void>();

/** Runs `work` and tells `listen` how far it comes. `listen` must not throw. */
export function listenToProgress<T>(listen: (progress: Progress) => void, work: () => T): T {
  return listener.run(listen, work);
}

/** Costs next to nothing where nobody listens; call it about every thousandth of the work, and at its end. */
export function reportProgress(progress: Progress): void {
  listener.getStore()?.(progress);
}
