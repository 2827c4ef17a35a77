/**
 * Runs a verification case: log-probs, margins, refinements, every loss and its gradients, and three optimizer steps,
 * against float64 references. It goes through the code that trains.
 *
 * Tolerances. f32 (the project's targets): log-probs 1e-4 absolute + 1e-5 relative, gradients 1e-4 of each tensor's
 * norm. Weights after optimizer steps get 5e-4: the gradient of a key bias is zero but for rounding (softmax ignores a
 * shift), and the optimizers turn its noise into full-sized steps; PyTorch in f32 differs by 1.5e-4 there.
 * bf16: weights and activations carry 8 bits (relative rounding 2^-9 each), so a log-prob of size L moves by about
 * L * 2^-8 and a gradient by a few per cent.
 */
import { join } from 'node:path';
import { Scope, Tensor } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import { packExamples } from '../batch/pack.js';
import { isRefined } from '../config/method.js';
import { ModelError } from '../errors.js';
import { readSafetensorsHeader, type TensorEntry } from '../hf/safetensors.js';
import { preferenceGradient } from '../loss/gradient.js';
import type { PreferenceOptions } from '../loss/preference.js';
import { batchHidden, pairLogps, scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';
import { loadModel } from '../model/load.js';
import { sequenceLogits } from '../model/logits.js';
import { gradientNorm } from '../optim/clip.js';
import { fillTensor } from '../shard/fill.js';
import { savedTensor } from '../shard/saved-tensors.js';
import { type PairTokens, promptAndAnswer } from '../tokens/examples.js';
import { PreferenceTrainer, type TrainingPair } from '../train/preference-trainer.js';
import { type LogpGroups, readCase, type VerificationCase } from './case.js';
import {
  compareValues,
  type QuantityReport,
  TensorComparison,
  type ValueTolerance,
  type VerifyReport,
} from './report.js';

interface Tolerances {
  readonly logits: ValueTolerance;
  readonly logps: ValueTolerance;
  readonly losses: ValueTolerance;
  readonly gradientNorm: ValueTolerance;
  readonly gradients: number;
  readonly weights: number;
}

const F32: Tolerances = {
  logits: { absolute: 1e-4, relative: 1e-5 },
  logps: { absolute: 1e-4, relative: 1e-5 },
  losses: { absolute: 1e-4, relative: 1e-4 },
  gradientNorm: { absolute: 0, relative: 1e-4 },
  gradients: 1e-4,
  weights: 5e-4,
};
const BF16: Tolerances = {
  logits: { absolute: 0.05, relative: 0.02 },
  logps: { absolute: 0.06, relative: 0.005 },
  losses: { absolute: 0.02, relative: 0.02 },
  gradientNorm: { absolute: 0, relative: 0.02 },
  gradients: 0.04,
  weights: 0.05,
};

/** The losses of case.json and what they are here. */
const LOSSES: Readonly<Record<string, Partial<PreferenceOptions> & Pick<PreferenceOptions, 'method'>>> = {
  sft: { method: 'sft' },
  dpo: { method: 'dpo' },
  'dpo_smoothed_0.1': { method: 'dpo', labelSmoothing: 0.1 },
  ipo: { method: 'ipo' },
  ipo_mean: { method: 'ipo', logpReduction: 'mean' },
  sr_dpo: { method: 'sr-dpo' },
  sr_ipo: { method: 'sr-ipo' },
};

/**
 * Verifies a case folder.
 *
 * @param folder case.json, expected.safetensors, model/ and ref/
 * @throws ModelError when the folder is not a case
 */
export async function verifyCase(
  folder: string,
  { dtype = 'f32' }: { dtype?: 'f32' | 'bf16' } = {},
): Promise<VerifyReport> {
  const verification = await readCase(folder);
  const expected = await readSafetensorsHeader(join(folder, 'expected.safetensors'));
  const run = new Verification(folder, verification, expected.entries, dtype);
  const quantities = await run.quantities();
  return {
    case: verification.architecture,
    dtype,
    quantities,
    passed: quantities.every(({ passed }) => passed),
  };
}

class Verification {
  private readonly pairs: readonly PairTokens[];
  private readonly augmentation: Int32Array;
  private readonly tolerances: Tolerances;

  constructor(
    private readonly folder: string,
    private readonly expected: VerificationCase,
    private readonly tensors: ReadonlyMap<string, TensorEntry>,
    private readonly dtype: 'f32' | 'bf16',
  ) {
    this.augmentation = Int32Array.from(expected.augmentation);
    this.pairs = expected.pairs.map(pair => {
      const prompt = Int32Array.from(pair.prompt);
      return {
        prompt,
        augmentedPrompt: prompt,
        chosen: Int32Array.from(pair.chosen),
        rejected: Int32Array.from(pair.rejected),
      };
    });
    this.tolerances = dtype === 'f32' ? F32 : BF16;
  }

  async quantities(): Promise<QuantityReport[]> {
    const reference = await this.loadModel('ref');
    const referenceReports = this.logps('reference', reference, this.expected.reference);
    reference.dispose();

    const policy = await this.loadModel('model');
    const reports = [
      ...referenceReports,
      ...this.logps('policy', policy, this.expected.policy),
      await this.logits(policy),
    ];
    for (const loss of Object.keys(LOSSES)) reports.push(...(await this.loss(policy, loss)));
    policy.dispose();
    reports.push(...(await this.optimizerSteps('rmsprop')), ...(await this.optimizerSteps('adamw')));
    return reports;
  }

  private logps(name: string, model: CausalLM, expected: LogpGroups): QuantityReport[] {
    const { logps } = this.tolerances;
    const plain = scorePairs(model, this.pairs, 'plain', this.augmentation);
    const augmented = scorePairs(model, this.pairs, 'augmented', this.augmentation);
    return [
      compareValues(`${name} logps, chosen`, column(plain, 0), expected.chosen, logps),
      compareValues(`${name} logps, rejected`, column(plain, 1), expected.rejected, logps),
      compareValues(`${name} logps, augmented chosen`, column(augmented, 0), expected.augChosen, logps),
      compareValues(`${name} logps, augmented rejected`, column(augmented, 1), expected.augRejected, logps),
    ];
  }

  /** Logits of prompt and chosen answer of the second pair. */
  private async logits(model: CausalLM): Promise<QuantityReport> {
    const { prompt, chosen } = this.pairs[1]!;
    const logits = sequenceLogits(model, [...prompt, ...chosen]);
    const expected = await this.expectedTensor('logits.pair1.chosen');
    return compareValues('logits', logits, expected, this.tolerances.logits);
  }

  private async loss(model: CausalLM, name: string): Promise<QuantityReport[]> {
    const options = this.lossOptions(LOSSES[name]!);
    const pairs = this.trainingPairs();
    const sft = options.method === 'sft';
    model.zeroGradients();
    let loss = 0;
    let norm = 0;
    const reports: QuantityReport[] = [];
    {
      using _scope = new Scope();
      const graph = new Graph('recording');
      const batch = packExamples(
        sft ? this.pairs.map(({ prompt, chosen }) => promptAndAnswer(prompt, chosen)) : this.pairs,
      );
      const refined = isRefined(options.method);
      const { reference } = this.expected;
      const given = {
        responseTokens: Tensor.from(batch.responseTokens, [pairs.length, sft ? 1 : 2]),
        reference: sft ? null : groupTensor(reference, 'chosen', 'rejected'),
        augmentedPolicy: refined ? pairLogps(model, this.pairs, 'augmented', this.augmentation) : null,
        augmentedReference: refined ? groupTensor(reference, 'augChosen', 'augRejected') : null,
      };
      const hidden = batchHidden(model, graph, batch);
      const output = preferenceGradient(options, hidden, model.head, batch, given, 1 / pairs.length);
      loss = output.losses.toFloat32Array().reduce((sum, value) => sum + value, 0) / pairs.length;
      if (name === 'sr_dpo') {
        const { logps: tolerance } = this.tolerances;
        reports.push(
          compareValues('margin', output.margins.toFloat32Array(), this.expected.margin, {
            ...tolerance,
            absolute: 4 * tolerance.absolute,
          }),
          compareValues('refinement', output.deltas.toFloat32Array(), this.expected.delta, {
            ...tolerance,
            absolute: 4 * this.expected.beta * tolerance.absolute,
          }),
        );
      }
      graph.backward();
      norm = gradientNorm(model.units).toFloat32Array()[0]!;
    }
    reports.push(
      compareValues(`loss ${name}`, [loss], [this.expected.losses[name]!], this.tolerances.losses),
      compareValues(
        `gradient norm ${name}`,
        [norm],
        [this.expected.gradNorm[name]!],
        this.tolerances.gradientNorm,
      ),
    );
    // A case gives the norm for every loss and the tensors for the main ones.
    if ([...this.tensors.keys()].some(key => key.startsWith(`grad.${name}.`))) {
      reports.push(
        await this.compareParameters(
          model,
          `gradients ${name}`,
          `grad.${name}`,
          this.tolerances.gradients,
          parameter => parameter.gradient,
        ),
      );
    }
    return reports;
  }

  private async optimizerSteps(name: 'rmsprop' | 'adamw'): Promise<QuantityReport[]> {
    const run = this.expected[name];
    const model = await this.loadModel('model');
    const trainer = new PreferenceTrainer(model, this.augmentation, {
      ...this.lossOptions({ method: 'sr-dpo' }),
      optimizer: { name, alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: run.weightDecay },
      maxGradNorm: run.maxGradNorm,
      microbatchPairs: this.pairs.length,
      activationCheckpointing: false,
    });
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 0; step < run.losses.length; step++) {
      const metrics = await trainer.step(this.trainingPairs(), run.lr);
      losses.push(metrics.loss!);
      norms.push(metrics.grad_norm!);
    }
    const { losses: lossTolerance, gradientNorm: normTolerance, weights } = this.tolerances;
    const reports = [
      compareValues(`losses, 3 ${name} steps`, losses, run.losses, lossTolerance),
      compareValues(`gradient norms, 3 ${name} steps`, norms, run.gradNorms, {
        ...normTolerance,
        relative: 5 * normTolerance.relative,
      }),
      await this.compareParameters(
        model,
        `weights, 3 ${name} steps`,
        `after3.${name}`,
        weights,
        parameter => parameter.value,
      ),
    ];
    trainer.dispose();
    model.dispose();
    return reports;
  }

  private async compareParameters(
    model: CausalLM,
    name: string,
    prefix: string,
    tolerance: number,
    tensorOf: (parameter: CausalLM['parameters'][number]) => Tensor,
  ): Promise<QuantityReport> {
    const comparison = new TensorComparison();
    for (const parameter of model.parameters) {
      for (const { name: source, start, end } of parameter.sources) {
        using part = tensorOf(parameter).rows(start, end);
        // The case names the output matrix of every architecture lm_head.
        const stored = source === 'embed_out.weight' ? 'lm_head.weight' : source;
        comparison.add(source, part.toFloat32Array(), await this.expectedTensor(`${prefix}.${stored}`));
      }
    }
    return comparison.report(name, tolerance);
  }

  private async expectedTensor(name: string): Promise<Float32Array> {
    const entry = this.tensors.get(name);
    if (entry === undefined) {
      throw new ModelError('The case lacks this tensor.', {
        file: join(this.folder, 'expected.safetensors'),
        field: name,
      });
    }
    using tensor = Tensor.empty(entry.shape);
    await fillTensor(savedTensor(entry), tensor);
    return tensor.toFloat32Array();
  }

  private lossOptions(
    options: Partial<PreferenceOptions> & Pick<PreferenceOptions, 'method'>,
  ): PreferenceOptions {
    const { beta, lambda } = this.expected;
    return { beta, lambda, labelSmoothing: 0, logpReduction: 'sum', sftReduction: 'example', ...options };
  }

  private trainingPairs(): TrainingPair[] {
    const { reference } = this.expected;
    return this.pairs.map((tokens, i) => ({
      tokens,
      reference: { chosen: reference.chosen[i]!, rejected: reference.rejected[i]! },
      augmentedReference: { chosen: reference.augChosen[i]!, rejected: reference.augRejected[i]! },
      source: `pair ${i}`,
    }));
  }

  private loadModel(name: 'ref' | 'model'): Promise<CausalLM> {
    return loadModel(join(this.folder, name), { dtype: this.dtype });
  }
}

const column = (logps: Float32Array, index: 0 | 1): Float32Array => logps.filter((_, i) => i % 2 === index);

function groupTensor(groups: LogpGroups, chosen: keyof LogpGroups, rejected: keyof LogpGroups): Tensor {
  return Tensor.from(
    groups[chosen].flatMap((value, i) => [value, groups[rejected][i]!]),
    [groups[chosen].length, 2],
  );
}
