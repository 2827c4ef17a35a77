/**
 * How a model's parameters are made: a builder asks a source for each Hugging Face tensor by name and shape, and keeps
 * matrices that are multiplied together (q, k, v; gate, up) fused along their rows.
 */
import { type DType, fillNormal, Tensor } from '@sralign/native';
import { Parameter, type ParameterSource } from '../autograd/graph.js';

/** Where the values of parameters come from: a checkpoint, or random numbers. */
export interface ParameterValues {
  /** Fills `target`, an f32 tensor or a range of its rows, with the tensor `name`. */
  fill(name: string, target: Tensor, kind: ParameterKind): void | Promise<void>;
}

/** What a parameter is, for random initialisation: matrices are normal, biases 0, norm weights 1. */
export type ParameterKind = 'matrix' | 'bias' | 'norm';

export class ParameterBuilder {
  readonly parameters: Parameter[] = [];

  constructor(
    private readonly values: ParameterValues,
    private readonly computeType: DType,
  ) {}

  /** A matrix [sum of rows, columns] made of the named parts, which stand under each other. */
  async matrix(
    name: string,
    columns: number,
    ...parts: readonly (readonly [string, number])[]
  ): Promise<Parameter> {
    const rows = parts.reduce((total, [, partRows]) => total + partRows, 0);
    return this.add(name, [rows, columns], parts, 'matrix', this.computeType === 'bf16');
  }

  /** A vector [sum of lengths] made of the named parts. */
  async vector(
    name: string,
    kind: 'bias' | 'norm',
    ...parts: readonly (readonly [string, number])[]
  ): Promise<Parameter> {
    const length = parts.reduce((total, [, partLength]) => total + partLength, 0);
    return this.add(name, [length], parts, kind, false);
  }

  private async add(
    name: string,
    shape: readonly number[],
    parts: readonly (readonly [string, number])[],
    kind: ParameterKind,
    computeCopy: boolean,
  ): Promise<Parameter> {
    const value = Tensor.empty(shape);
    const sources: ParameterSource[] = [];
    let start = 0;
    for (const [source, rows] of parts) {
      using target = value.rows(start, start + rows);
      await this.values.fill(source, target, kind);
      sources.push({ name: source, start, end: start + rows });
      start += rows;
    }
    const parameter = new Parameter(name, value, sources, computeCopy ? Tensor.empty(shape, 'bf16') : null);
    this.parameters.push(parameter);
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
