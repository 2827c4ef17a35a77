/** Rotary settings from where transformers reads them (5.18, `RotaryEmbeddingConfigMixin.convert_rope_params_to_dict`). */
import type { ConfigFields } from './config-fields.js';
import type { RotarySpec } from './spec.js';

/** What a family says of its rotary positions outside the nested settings. */
export interface RotaryDefaults {
  readonly headDim: number;
  readonly maxPositions: number;
  /** Top-level key of the base. */
  readonly thetaKey: 'rope_theta' | 'rotary_emb_base';
  /** Rotated part of a head; null: the whole, whatever partial_rotary_factor says, as transformers' Llama does. */
  readonly fraction: number | null;
}

/**
 * `rope_scaling` (transformers 4), where it is not empty, hides all of `rope_parameters` (5); top-level keys fill what they
 * leave out.
 *
 * @throws ModelError for a kind of scaling that is not computed here, and impossible values
 */
export function readRotary(
  fields: ConfigFields,
  { headDim, maxPositions, thetaKey, fraction }: RotaryDefaults,
): RotarySpec {
  const scaling = fields.object('rope_scaling') ?? {};
  const source = Object.keys(scaling).length > 0 ? 'rope_scaling' : 'rope_parameters';
  const nested = fields.object(source) ?? {};
  const nestedObject = Object.keys(nested).find(
    key => typeof nested[key] === 'object' && nested[key] !== null,
  );
  if (nestedObject !== undefined) fields.fail(source, 'must be the same for all layers', nested);
  const number = (key: string): number =>
    fields.positiveValue(key, nested[key]) ??
    fields.fail(key, `is needed by rope_type ${String(kind)}`, undefined);

  const theta = fields.positiveValue('rope_theta', nested.rope_theta) ?? fields.positive(thetaKey) ?? 10_000;
  const kind = nested.rope_type ?? nested.type ?? 'default';
  const partial = fields.positiveValue('partial_rotary_factor', nested.partial_rotary_factor);
  const whole = fraction === null;
  if (whole && kind !== 'default' && (partial ?? 1) !== 1) {
    fields.fail('partial_rotary_factor', `must be 1 with rope_type ${String(kind)}`, partial);
  }
  const dimensions = whole ? headDim : Math.floor(headDim * (partial ?? fraction));
  if (dimensions <= 0 || dimensions > headDim || dimensions % 2 !== 0) {
    fields.fail(
      'partial_rotary_factor',
      `must rotate an even part of a head of ${headDim}`,
      partial ?? fraction ?? 1,
    );
  }
  const plain: RotarySpec = { theta, dimensions, llama3: null, linearFactor: 1 };
  if (kind === 'default') return plain;
  if (kind === 'linear') return { ...plain, linearFactor: number('factor') };
  if (kind === 'llama3') {
    const original = 'original_max_position_embeddings';
    const llama3 = {
      factor: number('factor'),
      lowFrequencyFactor: number('low_freq_factor'),
      highFrequencyFactor: number('high_freq_factor'),
      originalMaxPositions:
        fields.positive(original) ?? fields.positiveValue(original, nested[original]) ?? maxPositions,
    };
    return { ...plain, llama3 };
  }
  return fields.fail('rope_type', 'must be default, linear or llama3', kind);
}
