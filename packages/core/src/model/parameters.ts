/**
 * How a model's parameters are made: a builder asks a source for each Hugging Face tensor by name and shape, and keeps
 * matrices that are multiplied together (q, k, v; gate, up) fused along their rows.
 */
import { type DType, fillNormal, Tensor } from '@sralign/native';
import type { NormParameters } from '../autograd/ops.js';
import { Parameter, type ParameterSource } from '../autograd/parameter.js';
import type { Gathered } from '../shard/flat.js';
import { UnitSequence } from '../shard/sequence.js';
import { ParameterUnit, type ShardingOptions, type UnitPart } from '../shard/unit.js';
import type { ModelSpec } from './spec.js';

/** Where the values of parameters come from: a checkpoint, or random numbers. */
export interface ParameterValues {
  /** Fills `target`, an f32 tensor or a range of its rows, with the tensor `name`. */
  fill(name: string, target: Tensor, kind: ParameterKind): void | Promise<void>;
}

/** Instead of values: what is stored, compared before memory is taken. The parameters are zeros until they are filled. */
export interface StoredShapes {
  /** @throws ModelError when a tensor is not stored, or in another shape */
  expect(name: string, shape: readonly number[]): void;
}

/** What a parameter is, for random initialisation: matrices are normal, biases 0, norm weights 1. */
export type ParameterKind = 'matrix' | 'bias' | 'norm';

/** Rows of a parameter that are one tensor of the checkpoint: its name there and their number. */
type Part = readonly [name: string, rows: number];

/** How a family makes the parts of its models. */
export interface ModelParts<Layer> {
  /** Embedding table [V, H]. */
  readonly table: () => Promise<Parameter>;
  readonly layer: (index: number) => Promise<Layer>;
  readonly finalNorm: () => Promise<NormParameters>;
  /** Output matrix [V, H]; not asked for where the embedding is it. */
  readonly head: () => Promise<Parameter>;
}

export interface BuiltModel<Layer> {
  readonly units: UnitSequence;
  readonly table: Parameter;
  readonly layers: readonly Layer[];
  readonly finalNorm: NormParameters;
  /** Output matrix [V, H]; the table itself when tied. */
  readonly head: Parameter;
}

export class ParameterBuilder {
  private unitParts: UnitPart[] = [];
  private current: ParameterUnit | null = null;

  constructor(
    private readonly source: ParameterValues | StoredShapes,
    private readonly computeType: DType,
    private readonly sharding: ShardingOptions,
  ) {}

  /**
   * Makes the parts of a model in the order of a pass, each in its unit; with tied embeddings both ends are one. Only one
   * unit's values are ever whole in memory.
   */
  async model<Layer>(
    { tiedEmbeddings, layers: count }: Pick<ModelSpec, 'tiedEmbeddings' | 'layers'>,
    parts: ModelParts<Layer>,
  ): Promise<BuiltModel<Layer>> {
    const first = await this.unit(tiedEmbeddings ? 'ends' : 'embedding', async () => {
      const table = await parts.table();
      return { table, end: tiedEmbeddings ? { finalNorm: await parts.finalNorm(), head: table } : null };
    });
    const layers: { readonly unit: ParameterUnit; readonly built: Layer }[] = [];
    for (let index = 0; index < count; index++) {
      layers.push(await this.unit(`layers.${index}`, () => parts.layer(index)));
    }
    const last =
      first.built.end === null
        ? await this.unit('head', async () => ({
            finalNorm: await parts.finalNorm(),
            head: await parts.head(),
          }))
        : { unit: first.unit, built: first.built.end };
    const order = [first, ...layers, last].map(({ unit }) => unit);
    return {
      units: new UnitSequence(order, this.sharding),
      table: first.built.table,
      layers: layers.map(({ built }) => built),
      ...last.built,
    };
  }

  /** A matrix [sum of rows, columns] made of the named parts, which stand under each other. */
  async matrix(name: string, columns: number, ...parts: readonly Part[]): Promise<Parameter> {
    return this.add(name, [columns], parts, 'matrix', this.computeType === 'bf16' ? 'bf16' : 'f32');
  }

  /** The embedding table [rows, columns], whose rows become the f32 residual stream. @param tied it is the output matrix too */
  async table(name: string, rows: number, columns: number, tied: boolean): Promise<Parameter> {
    const gathered = tied && this.computeType === 'bf16' ? 'both' : 'f32';
    return this.add(name, [columns], [[name, rows]], 'matrix', gathered);
  }

  /** A vector [sum of lengths] made of the named parts. */
  async vector(name: string, kind: 'bias' | 'norm', ...parts: readonly Part[]): Promise<Parameter> {
    return this.add(name, [], parts, kind, 'f32');
  }

  private async unit<T>(
    name: string,
    build: () => Promise<T>,
  ): Promise<{ readonly unit: ParameterUnit; readonly built: T }> {
    const unit = new ParameterUnit(name, this.sharding);
    this.current = unit;
    this.unitParts = [];
    try {
      const built = await build();
      unit.fill(this.unitParts);
      return { unit, built };
    } finally {
      for (const { initial } of this.unitParts) initial?.dispose();
    }
  }

  private async add(
    name: string,
    rowShape: readonly number[],
    parts: readonly Part[],
    kind: ParameterKind,
    gathered: Gathered,
  ): Promise<Parameter> {
    const values = 'fill' in this.source ? this.source : null;
    const sources: ParameterSource[] = [];
    let end = 0;
    for (const [source, rows] of parts) {
      if ('expect' in this.source) this.source.expect(source, [rows, ...rowShape]);
      sources.push({ name: source, start: end, end: end + rows });
      end += rows;
    }
    const parameter = new Parameter(name, [end, ...rowShape], sources, this.current!);
    const initial = values === null ? null : Tensor.empty(parameter.shape);
    this.unitParts.push({ parameter, initial, gathered });
    if (values === null || initial === null) return parameter;
    for (const source of sources) {
      using target = initial.rows(source.start, source.end);
      await values.fill(source.name, target, kind);
    }
    return parameter;
  }
}

/** Random values as transformers initialises these models; the same for a seed on every machine. */
export function randomValues(deviation: number, seed: number): ParameterValues {
  let drawn = 0;
  return {
    fill(_name, target, kind) {
      if (kind === 'matrix') fillNormal({ out: target, deviation, seed: (seed * 1_000_003 + drawn++) >>> 0 });
      else
        target.write(
          new Uint8Array(new Float32Array(target.size).fill(kind === 'norm' ? 1 : 0).buffer),
          'f32',
        );
    },
  };
}
