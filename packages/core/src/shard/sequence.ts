/**
 * The units of a model in the order in which a pass visits them: what is gathered ahead, and when gradients are summed.
 *
 * While a pass computes with one unit the values of the next are on their way; while a backward pass goes on, the gradients of
 * the units behind it are being summed. Every rank starts the same operations in the same order, because the order of
 * visits decides it, not the data.
 */
import type { Communicator } from '@sralign/native';
import { Graph, type UnitVisit } from '../autograd/graph.js';
import type { Parameter } from '../autograd/parameter.js';
import type { FlatParameter } from './flat.js';
import { NO_TRACE, type Trace } from './trace.js';
import type { ParameterUnit, ShardingOptions } from './unit.js';

/** Sums of gradients under way at a time; each holds the whole gradient of a unit. */
const MOST_REDUCTIONS = 1;

export class UnitSequence {
  /** The first is the embedding, the last the final norm and the output matrix; tied, both are the same unit. */
  readonly visits: readonly UnitVisit[];
  readonly units: readonly ParameterUnit[];
  readonly communicator: Communicator;
  /** Whether backward passes sum the gradients over ranks: in the last microbatch of a step. */
  reducing = true;
  trace: Trace = NO_TRACE;
  /** How long this step has waited for what other ranks bring. */
  waitedMs = 0;
  private readonly reductions: { readonly unit: ParameterUnit; readonly finish: () => void }[] = [];
  /** Backward passes that a unit is yet to see before its gradient is complete. */
  private readonly pending = new Map<ParameterUnit, number>();

  /** @param order units in the order of visits */
  constructor(order: readonly ParameterUnit[], { communicator }: ShardingOptions) {
    this.communicator = communicator;
    this.units = [...new Set(order)];
    this.visits = order.map((_, index) => this.visit(order, index));
  }

  get parameters(): Parameter[] {
    return this.units.flatMap(unit => unit.parameters);
  }

  /** What this rank optimizes: its shards. */
  get flats(): FlatParameter[] {
    return this.units.flatMap(unit => unit.flats);
  }

  /** A pass without data, for a rank that has none: takes part in what the other ranks do. */
  emptyPass(recording: boolean): void {
    using graph = new Graph(recording ? 'recording' : 'inference');
    for (const visit of this.visits.slice(0, -1)) graph.within(visit, () => {});
    graph.enter(this.visits.at(-1)!);
    if (recording) graph.backward();
  }

  /** Starts a step: no gradients, nothing waited for. */
  zeroGradients(): void {
    this.pending.clear();
    this.waitedMs = 0;
    for (const unit of this.units) unit.zeroGradients();
  }

  /** Waits until the shards of the gradient are those of the whole batch. */
  finishReductions(): void {
    while (this.reductions.length > 0) this.finishReduction();
  }

  /** Runs `body`, which waits for other ranks. @param name of what it waits for */
  waiting(name: string, body: () => void): void {
    const startMs = performance.now();
    this.trace.waiting(name, body);
    this.waitedMs += performance.now() - startMs;
  }

  /** To be called when the shards have changed. */
  invalidate(): void {
    for (const unit of this.units) unit.invalidate();
  }

  dispose(): void {
    for (const unit of this.units) unit.dispose();
  }

  private visit(order: readonly ParameterUnit[], index: number): UnitVisit {
    const unit = order[index]!;
    const last = order.length - 1;
    return {
      enterForward: recording => {
        this.waiting(unit.name, () => unit.acquire());
        if (recording) this.pending.set(unit, (this.pending.get(unit) ?? 0) + 1);
        order[index + 1]?.gather();
        this.trace.begin(unit.name, 'forward');
      },
      leaveForward: recording => {
        this.trace.end();
        // The backward pass begins with the last two.
        if (!recording || index < last - 1) unit.release();
      },
      enterBackward: () => {
        // The gradient of the embedding does not need its values.
        if (index > 0) this.waiting(unit.name, () => unit.acquire());
        if (index > 1) order[index - 1]!.gather();
        this.trace.begin(unit.name, 'backward');
      },
      leaveBackward: () => {
        this.trace.end();
        if (index > 0) unit.release();
        const pending = this.pending.get(unit)! - 1;
        this.pending.set(unit, pending);
        if (pending > 0 || !this.reducing) return;
        this.reductions.push({ unit, finish: unit.reduceGradients() });
        while (this.reductions.length > MOST_REDUCTIONS) this.finishReduction();
      },
    };
  }

  private finishReduction(): void {
    const { unit, finish } = this.reductions.shift()!;
    this.waiting(unit.name, finish);
  }
}
