/** GPT-NeoX (Pythia): layer norms, fused query-key-value, partial rotary, parallel or serial residual. */
import type { DType } from '@sralign/native';
import type { Graph, Variable } from '../autograd/graph.js';
import { embedding, gelu, linear, type NormParameters, norm, residual } from '../autograd/ops.js';
import type { Parameter } from '../autograd/parameter.js';
import type { UnitSequence } from '../shard/sequence.js';
import type { ShardingOptions } from '../shard/unit.js';
import { CausalLM, type ModelInput } from './causal-lm.js';
import { ParameterBuilder, type ParameterValues, type StoredShapes } from './parameters.js';
import type { ModelSpec } from './spec.js';

interface Layer {
  readonly attentionNorm: NormParameters;
  readonly qkv: Parameter;
  readonly qkvBias?: Parameter;
  readonly dense: Parameter;
  readonly denseBias?: Parameter;
  readonly mlpNorm: NormParameters;
  readonly up: Parameter;
  readonly upBias: Parameter;
  readonly down: Parameter;
  readonly downBias: Parameter;
}

export class GptNeox extends CausalLM {
  private constructor(
    spec: ModelSpec,
    computeType: DType,
    units: UnitSequence,
    private readonly embedding: Parameter,
    private readonly layers: readonly Layer[],
    private readonly finalNorm: NormParameters,
    head: Parameter,
  ) {
    super(spec, computeType, units, head);
  }

  static async create(
    spec: ModelSpec,
    source: ParameterValues | StoredShapes,
    computeType: DType,
    sharding: ShardingOptions,
  ): Promise<GptNeox> {
    const builder = new ParameterBuilder(source, computeType, sharding);
    const { hiddenSize: h, feedForwardSize: f, vocabularySize: v } = spec;
    const matrix = (name: string, rows: number, columns: number): Promise<Parameter> =>
      builder.matrix(name, columns, [name, rows]);
    const bias = (name: string, length: number): Promise<Parameter> =>
      builder.vector(name, 'bias', [name, length]);
    const layerNorm = async (name: string): Promise<NormParameters> => ({
      weight: await builder.vector(`${name}.weight`, 'norm', [`${name}.weight`, h]),
      bias: await bias(`${name}.bias`, h),
      epsilon: spec.normEpsilon,
    });

    const layerOf = async (index: number): Promise<Layer> => {
      const layer = `gpt_neox.layers.${index}`;
      return {
        attentionNorm: await layerNorm(`${layer}.input_layernorm`),
        qkv: await matrix(`${layer}.attention.query_key_value.weight`, 3 * h, h),
        dense: await matrix(`${layer}.attention.dense.weight`, h, h),
        ...(spec.attentionBias && {
          qkvBias: await bias(`${layer}.attention.query_key_value.bias`, 3 * h),
          denseBias: await bias(`${layer}.attention.dense.bias`, h),
        }),
        mlpNorm: await layerNorm(`${layer}.post_attention_layernorm`),
        up: await matrix(`${layer}.mlp.dense_h_to_4h.weight`, f, h),
        upBias: await bias(`${layer}.mlp.dense_h_to_4h.bias`, f),
        down: await matrix(`${layer}.mlp.dense_4h_to_h.weight`, h, f),
        downBias: await bias(`${layer}.mlp.dense_4h_to_h.bias`, h),
      };
    };
    const { units, table, layers, finalNorm, head } = await builder.model(spec, {
      table: () => builder.table('gpt_neox.embed_in.weight', v, h, spec.tiedEmbeddings),
      layer: layerOf,
      finalNorm: () => layerNorm('gpt_neox.final_layer_norm'),
      head: () => matrix('embed_out.weight', v, h),
    });
    return new GptNeox(spec, computeType, units, table, layers, finalNorm, head);
  }

  override hidden(graph: Graph, input: ModelInput): Variable {
    const geluKind = this.spec.activation === 'gelu-erf' ? 'erf' : 'tanh';
    const attend = (graph: Graph, x: Variable, layer: Layer, index: number): Variable => {
      const qkv = linear(
        graph,
        norm(graph, x, layer.attentionNorm, this.computeType),
        layer.qkv,
        layer.qkvBias,
      );
      return linear(graph, this.attention(graph, qkv, input, index), layer.dense, layer.denseBias);
    };
    const feedForward = (graph: Graph, x: Variable, layer: Layer): Variable => {
      const up = linear(graph, norm(graph, x, layer.mlpNorm, this.computeType), layer.up, layer.upBias);
      return linear(graph, gelu(graph, up, geluKind), layer.down, layer.downBias);
    };

    const blocks = this.layers.map((layer, index) => (graph: Graph, x: Variable): Variable => {
      const y = residual(graph, x, attend(graph, x, layer, index));
      return residual(graph, y, feedForward(graph, this.spec.parallelResidual ? x : y, layer));
    });
    const x = this.stack(graph, () => embedding(graph, input.tokens, this.embedding), blocks);
    return norm(graph, x, this.finalNorm, this.computeType);
  }
}
