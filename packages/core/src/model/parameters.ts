/**
 * How a model's parameters are made: a builder asks a source for each Hugging Face tensor by name and shape, and keeps
 * matrices that are multiplied together (q, k, v; gate, up) fused along their rows.
 */
import { type DType, fillNormal, Tensor } from '@sralign/native';
import { Parameter, type ParameterSource } from '../autograd/parameter.js';
import type { Gathered } from '../shard/flat.js';
import { ParameterUnit, type ShardingOptions, type UnitPart } from '../shard/unit.js';

/** Where the values of parameters come from: a checkpoint, or random numbers. */
export interface ParameterValues {
  /** Fills `target`, an f32 tensor or a range of its rows, with the tensor `name`. */
  fill(name: string, target: Tensor, kind: ParameterKind): void | Promise<void>;
}

/** What a parameter is, for random initialisation: matrices are normal, biases 0, norm weights 1. */
export type ParameterKind = 'matrix' | 'bias' | 'norm';

/** Rows of a parameter that are one tensor of the checkpoint: its name there and their number. */
type Part = readonly [name: string, rows: number];

export class ParameterBuilder {
  private unitParts: UnitPart[] = [];
  private current: ParameterUnit | null = null;

  /** @param values null: the parameters are zeros, and their shards are filled when the model is there */
  constructor(
    private readonly values: ParameterValues | null,
    private readonly computeType: DType,
    private readonly sharding: ShardingOptions,
  ) {}

  /** Makes a unit of the parameters that `build` makes; only one unit's values are ever whole in memory. */
  async unit<T>(name: string, build: () => Promise<T>): Promise<T & { readonly unit: ParameterUnit }> {
    const unit = new ParameterUnit(name, this.sharding);
    this.current = unit;
    this.unitParts = [];
    try {
      const built = await build();
      unit.fill(this.unitParts);
      return { ...built, unit };
    } finally {
      for (const { initial } of this.unitParts) initial?.dispose();
    }
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

  private async add(
    name: string,
    rowShape: readonly number[],
    parts: readonly Part[],
    kind: ParameterKind,
    gathered: Gathered,
  ): Promise<Parameter> {
    const sources: ParameterSource[] = [];
    let end = 0;
    for (const [source, rows] of parts) {
      sources.push({ name: source, start: end, end: end + rows });
      end += rows;
    }
    const parameter = new Parameter(name, [end, ...rowShape], sources, this.current!);
    const initial = this.values === null ? null : Tensor.empty(parameter.shape);
    this.unitParts.push({ parameter, initial, gathered });
    if (this.values === null || initial === null) return parameter;
    for (const source of sources) {
      using target = initial.rows(source.start, source.end);
      await this.values.fill(source.name, target, kind);
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
