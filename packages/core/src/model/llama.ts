/** Llama and Mistral: RMS norms, grouped queries, full rotary, SwiGLU; Mistral adds a sliding window. */
import type { DType } from '@sralign/native';
import type { Graph, Variable } from '../autograd/graph.js';
import { embedding, linear, type NormParameters, norm, residual, swiglu } from '../autograd/ops.js';
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
  readonly output: Parameter;
  readonly outputBias?: Parameter;
  readonly mlpNorm: NormParameters;
  readonly gateUp: Parameter;
  readonly gateUpBias?: Parameter;
  readonly down: Parameter;
  readonly downBias?: Parameter;
}

export class Llama extends CausalLM {
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
  ): Promise<Llama> {
    const builder = new ParameterBuilder(source, computeType, sharding);
    const { hiddenSize: h, feedForwardSize: f, vocabularySize: v } = spec;
    const queryWidth = spec.heads.heads * spec.heads.headDim;
    const kvWidth = spec.heads.kvHeads * spec.heads.headDim;
    const rmsNorm = async (name: string): Promise<NormParameters> => ({
      weight: await builder.vector(`${name}.weight`, 'norm', [`${name}.weight`, h]),
      epsilon: spec.normEpsilon,
    });

    const layerOf = async (index: number): Promise<Layer> => {
      const layer = `model.layers.${index}`;
      const attention = `${layer}.self_attn`;
      const mlp = `${layer}.mlp`;
      const qkvParts = (suffix: string): [string, number][] => [
        [`${attention}.q_proj.${suffix}`, queryWidth],
        [`${attention}.k_proj.${suffix}`, kvWidth],
        [`${attention}.v_proj.${suffix}`, kvWidth],
      ];
      const gateUpParts = (suffix: string): [string, number][] => [
        [`${mlp}.gate_proj.${suffix}`, f],
        [`${mlp}.up_proj.${suffix}`, f],
      ];
      return {
        attentionNorm: await rmsNorm(`${layer}.input_layernorm`),
        qkv: await builder.matrix(`${attention}.qkv.weight`, h, ...qkvParts('weight')),
        output: await builder.matrix(`${attention}.o_proj.weight`, queryWidth, [
          `${attention}.o_proj.weight`,
          h,
        ]),
        ...(spec.attentionBias && {
          qkvBias: await builder.vector(`${attention}.qkv.bias`, 'bias', ...qkvParts('bias')),
          outputBias: await builder.vector(`${attention}.o_proj.bias`, 'bias', [
            `${attention}.o_proj.bias`,
            h,
          ]),
        }),
        mlpNorm: await rmsNorm(`${layer}.post_attention_layernorm`),
        gateUp: await builder.matrix(`${mlp}.gate_up.weight`, h, ...gateUpParts('weight')),
        down: await builder.matrix(`${mlp}.down_proj.weight`, f, [`${mlp}.down_proj.weight`, h]),
        ...(spec.mlpBias && {
          gateUpBias: await builder.vector(`${mlp}.gate_up.bias`, 'bias', ...gateUpParts('bias')),
          downBias: await builder.vector(`${mlp}.down_proj.bias`, 'bias', [`${mlp}.down_proj.bias`, h]),
        }),
      };
    };
    const { units, table, layers, finalNorm, head } = await builder.model(spec, {
      table: () => builder.table('model.embed_tokens.weight', v, h, spec.tiedEmbeddings),
      layer: layerOf,
      finalNorm: () => rmsNorm('model.norm'),
      head: () => builder.matrix('lm_head.weight', h, ['lm_head.weight', v]),
    });
    return new Llama(spec, computeType, units, table, layers, finalNorm, head);
  }

  override hidden(graph: Graph, input: ModelInput): Variable {
    const attend = (graph: Graph, x: Variable, layer: Layer, index: number): Variable => {
      const qkv = linear(
        graph,
        norm(graph, x, layer.attentionNorm, this.computeType),
        layer.qkv,
        layer.qkvBias,
      );
      return linear(graph, this.attention(graph, qkv, input, index), layer.output, layer.outputBias);
    };
    const feedForward = (graph: Graph, x: Variable, layer: Layer): Variable => {
      const gateUp = linear(
        graph,
        norm(graph, x, layer.mlpNorm, this.computeType),
        layer.gateUp,
        layer.gateUpBias,
      );
      return linear(graph, swiglu(graph, gateUp), layer.down, layer.downBias);
    };

    const blocks = this.layers.map((layer, index) => (graph: Graph, x: Variable): Variable => {
      const y = residual(graph, x, attend(graph, x, layer, index));
      return residual(graph, y, feedForward(graph, y, layer));
    });
    const x = this.stack(graph, () => embedding(graph, input.tokens, this.embedding), blocks);
    return norm(graph, x, this.finalNorm, this.computeType);
  }
}
