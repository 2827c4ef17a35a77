/**
 * A unit: the parameters that are gathered, used and freed together - a transformer block, the embedding, the output
 * matrix. What a rank keeps for good are its shards (shard/flat.ts).
 *
 * `full`       the values are gathered when a pass enters the unit and freed when it leaves; the gradient of the unit lives from
 *              its first backward pass in a step until it is summed over ranks, in the last, and only this rank's shard of
 *              the sum is kept (ZeRO-3).
 * `gradients`  the values are whole on every rank and gathered again after an update; gradients as in `full` (ZeRO-2).
 * `none`       every rank has everything; gradients are summed over ranks in place.
 *
 * With one rank all three are the same: the shard is the whole, and nothing is copied.
 */
import { type Collective, type Communicator, Tensor, unscoped } from '@sralign/native';
import type { Parameter, ParameterOwner } from '../autograd/parameter.js';
import { type FlatEntry, FlatParameter, flatLayout, type Gathered } from './flat.js';

export const SHARDINGS = ['full', 'gradients', 'none'] as const;
export type Sharding = (typeof SHARDINGS)[number];

/** Who shares the parameters, and how. */
export interface ShardingOptions {
  readonly communicator: Communicator;
  readonly sharding: Sharding;
}

/** A parameter that goes into a unit, with the values it starts from. */
export interface UnitPart {
  readonly parameter: Parameter;
  /** f32, in the shape of the parameter; null: the shards are filled later. */
  readonly initial: Tensor | null;
  readonly gathered: Gathered;
}

/** One flat while it is gathered: f32 and bf16 [size] where the flat has them, and views in the parameters' shapes. */
interface Whole {
  readonly value: Tensor | null;
  readonly compute: Tensor | null;
  readonly views: readonly Tensor[];
}

export class ParameterUnit implements ParameterOwner {
  readonly parameters: Parameter[] = [];
  flats: readonly FlatParameter[] = [];
  private readonly residents: (Tensor | null)[] = [];
  private wholes: (Whole | null)[] = [];
  private gathering: Collective[] = [];
  /** Whether the gathered values are those of the shards. */
  private fresh = false;
  /** Whether the values are freed when no pass needs them. */
  private readonly freesValues: boolean;
  private gradients: (Tensor | null)[] = [];
  private readonly gradientViews = new Map<Parameter, Tensor>();

  constructor(
    readonly name: string,
    private readonly options: ShardingOptions,
  ) {
    this.freesValues = options.sharding === 'full' && options.communicator.worldSize > 1;
  }

  /** Takes the parameters' initial values; they stay the caller's. */
  fill(parts: readonly UnitPart[]): void {
    const { communicator, sharding } = this.options;
    const shards = sharding === 'none' ? 1 : communicator.worldSize;
    const shard = shards === 1 ? 0 : communicator.rank;
    const kinds = (['f32', 'bf16', 'both'] as const).filter(kind =>
      parts.some(part => part.gathered === kind),
    );
    this.parameters.push(...parts.map(part => part.parameter));
    this.flats = kinds.map(kind => {
      const own = parts.filter(part => part.gathered === kind);
      const layout = flatLayout(
        own.map(part => part.parameter),
        shards,
      );
      // Where the f32 values are whole all the time, this rank's shard is its place in them.
      const whole =
        sharding === 'gradients' && kind !== 'bf16' ? unscoped(() => Tensor.empty([layout.size])) : null;
      const place =
        whole &&
        unscoped(() => whole.rows(shard * (layout.size / shards), (shard + 1) * (layout.size / shards)));
      this.residents.push(whole);
      const initial = own.map(part => part.initial);
      return new FlatParameter(
        `${this.name}.${kind}`,
        layout,
        kind,
        shard,
        shards,
        initial,
        place ?? undefined,
      );
    });
    this.wholes = this.flats.map(() => null);
    this.gradients = this.flats.map(() => null);
    // Where nothing has to come from other ranks, the values are there from now on.
    if (shards === 1) this.gather();
  }

  // ---- values ------------------------------------------------------------------------------------------------

  /** Starts to gather the values, if they are not there. */
  gather(): void {
    if (this.fresh) return;
    this.fresh = true;
    for (const [index, flat] of this.flats.entries()) {
      this.wholes[index] ??= this.makeWhole(flat, this.residents[index]!);
      const { value, compute } = this.wholes[index];
      if (flat.shards === 1) continue;
      const { communicator } = this.options;
      if (value !== null) this.gathering.push(communicator.allGather(flat.value, value));
      if (compute !== null) this.gathering.push(communicator.allGather(flat.computeCopy!, compute));
    }
  }

  /** The values are there until `release`. */
  acquire(): void {
    this.gather();
    for (const collective of this.gathering) collective.wait();
    this.gathering = [];
  }

  release(): void {
    if (this.freesValues) this.free();
  }

  /** The shards have changed: what was gathered from them is old. */
  invalidate(): void {
    if (this.flats.some(flat => flat.shards > 1)) this.fresh = false;
  }

  /**
   * Gathers the f32 values for a moment, whatever the passes see of them: tensors in the shapes of `parameters`, the caller's.
   * All ranks call it together.
   */
  gatherValues(): Tensor[] {
    const views = new Map<Parameter, Tensor>();
    for (const flat of this.flats) {
      if (flat.shards === 1) {
        for (const entry of flat.layout.entries) views.set(entry.parameter, viewOf(flat.value, entry));
        continue;
      }
      using whole = Tensor.empty([flat.layout.size]);
      this.options.communicator.allGather(flat.value, whole).wait();
      for (const entry of flat.layout.entries) views.set(entry.parameter, viewOf(whole, entry));
    }
    return this.parameters.map(parameter => views.get(parameter)!);
  }

  // ---- gradients ---------------------------------------------------------------------------------------------

  gradientOf(parameter: Parameter): Tensor {
    const known = this.gradientViews.get(parameter);
    if (known !== undefined) return known;
    for (const [index, flat] of this.flats.entries()) {
      const entry = flat.layout.entries.find(candidate => candidate.parameter === parameter);
      if (entry === undefined) continue;
      const view = unscoped(() => viewOf(this.wholeGradient(index), entry));
      this.gradientViews.set(parameter, view);
      return view;
    }
    throw new Error(`The parameter ${parameter.name} is not in the unit ${this.name}.`);
  }

  zeroGradients(): void {
    // Where only a shard of the sum is kept, a new whole is made of zeros when it is written to.
    if (this.flats.some(flat => flat.shards > 1)) this.freeGradients();
    else for (const flat of this.flats) flat.zeroGradient();
  }

  /**
   * Starts to sum the gradients over ranks.
   *
   * @returns finishes: waits, and frees the whole gradient where a shard of the sum is all that is kept
   */
  reduceGradients(): () => void {
    const { communicator } = this.options;
    if (communicator.worldSize === 1) return () => {};
    const started = this.flats.map((flat, index) => {
      const whole = this.wholeGradient(index);
      return flat.shards === 1
        ? communicator.allReduce(whole)
        : communicator.reduceScatter(whole, flat.gradient);
    });
    return () => {
      for (const collective of started) collective.wait();
      if (this.flats.some(flat => flat.shards > 1)) this.freeGradients();
    };
  }

  /** Frees everything. Does not wait: where a rank has failed, nothing that is under way ends. */
  dispose(): void {
    this.free();
    this.freeGradients();
    for (const flat of this.flats) flat.dispose();
    for (const resident of this.residents) resident?.dispose();
  }

  private makeWhole(flat: FlatParameter, resident: Tensor | null): Whole {
    return unscoped(() => {
      const { layout, gathered } = flat;
      const gather = (shard: Tensor): Tensor =>
        flat.shards === 1 ? shard : Tensor.empty([layout.size], shard.dtype);
      // With one shard the f32 values are there anyway, also where only the rounded ones are needed.
      const value = gathered !== 'bf16' || flat.shards === 1 ? (resident ?? gather(flat.value)) : null;
      const compute = flat.computeCopy === null ? null : gather(flat.computeCopy);
      const views: Tensor[] = [];
      for (const entry of layout.entries) {
        const [valueView, computeView] = [value, compute].map(whole => whole && viewOf(whole, entry));
        entry.parameter.bind({ value: valueView!, compute: computeView ?? valueView! });
        views.push(...[valueView, computeView].filter(view => view != null));
      }
      return { value, compute, views };
    });
  }

  private free(): void {
    this.fresh = false;
    for (const [index, flat] of this.flats.entries()) {
      const whole = this.wholes[index];
      if (whole == null) continue;
      for (const view of whole.views) view.dispose();
      if (flat.shards > 1) {
        whole.value?.dispose();
        whole.compute?.dispose();
      }
      for (const { parameter } of flat.layout.entries) parameter.bind(null);
      this.wholes[index] = null;
    }
  }

  /** f32 [size]. */
  private wholeGradient(index: number): Tensor {
    const flat = this.flats[index]!;
    if (flat.shards === 1) return flat.gradient;
    this.gradients[index] ??= unscoped(() => Tensor.zeros([flat.layout.size]));
    return this.gradients[index];
  }

  private freeGradients(): void {
    for (const view of this.gradientViews.values()) view.dispose();
    this.gradientViews.clear();
    for (const gradient of this.gradients) gradient?.dispose();
    this.gradients = this.flats.map(() => null);
  }
}

/** The tensor of an entry inside a flat. */
export function viewOf(flat: Tensor, { parameter, offset }: FlatEntry): Tensor {
  using rows = flat.rows(offset, offset + parameter.size);
  return rows.reshape(parameter.shape);
}
