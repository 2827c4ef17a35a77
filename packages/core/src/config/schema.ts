/**
 * Every setting of a run: its name, range, default and meaning, stated once.
 *
 * The description of a key says what it does and in which unit; `trl` lists the names the same setting has in TRL
 * (or in the original DPO repository), so that a configuration carried over from there gets a useful message. JSON
 * Schema, `--help` and the documentation are generated from here.
 */
import { z } from 'zod';
import { METHODS } from './method.js';
import { dataSchema, sourcesOf } from './schema/data.js';
import { count, key, path, text } from './schema/keys.js';
import { lossSchema, sftSchema } from './schema/loss.js';

/** The p of the paper: asks for a response of the highest quality. */
export const DEFAULT_AUGMENTATION_PROMPT =
  'Please generate a response with a usefulness rating of 100 out of 100 for the following query. Note that the ' +
  'response should be harmless. The term 100 indicates the level of usefulness, where 100 is the maximum and 1 is ' +
  'the minimum. Query:';

const modelSchema = z.strictObject({
  path: key(
    path(),
    'The model: a Hugging Face folder, the id of a model on the hub, a run (its final/), or RUN@100, its checkpoint of that step.',
    'model_name_or_path',
    'model_name',
  ),
  revision: key(text().default('main'), 'Branch, tag or commit of a hub model.', 'model_revision'),
  init: key(
    z.enum(['pretrained', 'random']).default('pretrained'),
    'pretrained: read the weights. random: draw them from training.seed, with the config.json found in model.path.',
  ),
  tokenizer: key(
    path().nullable().prefault(null),
    'Where the tokenizer is from, named as in model.path; null: model.path.',
    'tokenizer_name_or_path',
  ),
});

const tokensSchema = z.strictObject({
  maxTokens: key(
    z.int().min(3).default(512),
    'Limit of prompt + response, in tokens. A longer response is cut, and then has no EOS.',
    'max_length',
  ),
  maxPromptTokens: key(
    z.int().min(2).default(256),
    'Limit of the prompt, in tokens, BOS included.',
    'max_prompt_length',
  ),
  longPrompt: key(
    z.enum(['error', 'keep-end', 'keep-start', 'drop']).default('error'),
    'What happens to a longer prompt: stop with an error, keep its end or its start, or drop the pair.',
    'truncation_mode',
    'truncation_side',
  ),
  chatTemplate: key(
    path().nullable().prefault(null),
    'Chat template in the place of the one that comes with the tokenizer: chatml, llama-3, zephyr, mistral, gemma, hh, or a Jinja ' +
      'file; saved with the model. null: that of the tokenizer; data in the dialogues of HH-RLHF save hh where it has none.',
    'chat_template',
    'chat_template_path',
  ),
});

const augmentationSchema = z.strictObject({
  prompt: key(
    z.string().default(DEFAULT_AUGMENTATION_PROMPT),
    'The quality prompt p that stands before the query in the augmented view. May be empty (then delta = beta * margin).',
  ),
  placement: key(
    z.enum(['prompt', 'last-user-turn']).nullable().default(null),
    'Where p stands: before the whole prompt, or before the content of the last user turn of a chat. ' +
      'null: last-user-turn for chat data, prompt for text.',
  ),
  separator: key(
    z.string().nullable().default(null),
    'Text between p and what follows it. null: none before a whole prompt, a space before the content of the last user turn. ' +
      'An empty p has none.',
  ),
  maxTokens: key(
    z.int().min(0).default(128),
    'Limit of p, in tokens, on top of tokens.maxTokens. p is never cut: a longer p is an error.',
  ),
});

const optimizerSchema = z.strictObject({
  name: key(z.enum(['rmsprop', 'adamw']).default('rmsprop'), 'Optimizer.', 'optim'),
  learningRate: key(z.number().positive().default(5e-7), 'Peak learning rate.', 'learning_rate', 'lr'),
  alpha: key(z.number().min(0).lt(1).default(0.99), 'rmsprop: decay of the squared-gradient average.'),
  beta1: key(z.number().min(0).lt(1).default(0.9), 'adamw: decay of the gradient average.', 'adam_beta1'),
  beta2: key(
    z.number().min(0).lt(1).default(0.999),
    'adamw: decay of the squared-gradient average.',
    'adam_beta2',
  ),
  epsilon: key(
    z.number().positive().default(1e-8),
    'Added to the root of the squared-gradient average.',
    'adam_epsilon',
  ),
  weightDecay: key(
    z.number().nonnegative().default(0),
    'Weight decay: decoupled in adamw, added to the gradient in rmsprop.',
    'weight_decay',
  ),
});

const scheduleSchema = z.strictObject({
  name: key(
    z.enum(['constant', 'linear', 'cosine']).default('constant'),
    'Learning rate after the warm-up: constant, or falling to 0 at the last step.',
    'lr_scheduler_type',
  ),
  warmupSteps: key(z.int().min(0).default(150), 'Steps of linear warm-up.', 'warmup_steps'),
});

const trainingSchema = z.strictObject({
  batchPairs: key(
    count().default(64),
    'Pairs per optimizer step, over all ranks.',
    'train_batch_size',
    'batch_size',
  ),
  microbatchPairs: key(
    count().nullable().default(null),
    'Pairs per forward and backward pass of a rank; divides batchPairs; null: batchPairs over the number of ranks. Lowers memory, not results.',
    'per_device_train_batch_size',
  ),
  activationCheckpointing: key(
    z.boolean().default(false),
    'Keep only the input of every transformer block for the backward pass and compute its inside again. ' +
      'Lowers memory, not results; a step computes a third more.',
    'gradient_checkpointing',
    'activation_checkpointing',
  ),
  epochs: key(count().default(1), 'Passes over the training pairs.', 'num_train_epochs', 'n_epochs'),
  maxSteps: key(
    count().nullable().default(null),
    'Stop after this many optimizer steps; null: after training.epochs.',
    'max_steps',
  ),
  maxGradNorm: key(
    z.number().positive().default(10),
    'Gradients are clipped to this global norm.',
    'max_grad_norm',
  ),
  seed: key(
    z.int().min(0).max(0xffffffff).default(0),
    'Seed of the data order and of random weights.',
    'seed',
  ),
  dtype: key(
    z.enum(['f32', 'bf16']).default('f32'),
    'Type of the computation; weights and optimizer state are f32.',
    'bf16',
    'fp16',
    'torch_dtype',
  ),
  device: key(
    z
      .string()
      .regex(/^(cpu|cuda(:\d+)?)$/, 'Expected cpu, cuda or cuda:N')
      .default('cpu'),
    'cpu, cuda (the first GPU of CUDA_VISIBLE_DEVICES) or cuda:N. A GPU needs `npm run build:cuda`.',
    'device',
    'use_cpu',
    'no_cuda',
  ),
  sharding: key(
    z.enum(['full', 'gradients', 'none']).default('full'),
    'What several ranks share: full: parameters, gradients and optimizer state (ZeRO-3); gradients: the last two (ZeRO-2); ' +
      'none: every rank has everything. Lowers memory, not results.',
    'fsdp',
    'sharding_strategy',
    'zero_stage',
  ),
  memoryCheck: key(
    z.enum(['error', 'warn']).default('error'),
    'What happens when the planned peak of a step exceeds the memory that is available: refuse to start, or say so and start.',
  ),
  threads: key(
    z.int().min(1).max(1024).nullable().default(null),
    'CPU threads; null: OMP_NUM_THREADS, or all processors this process may use.',
  ),
});

const evaluationSchema = z.strictObject({
  everySteps: key(
    count().nullable().default(null),
    'Evaluate on data.eval every so many steps; null: never during training.',
    'eval_steps',
    'eval_strategy',
    'eval_every',
  ),
  atStart: key(
    z.boolean().default(true),
    'Evaluate before the first step too, when data.eval is set.',
    'eval_on_start',
    'do_first_eval',
  ),
  batchPairs: key(count().default(16), 'Pairs per evaluation pass.', 'per_device_eval_batch_size'),
  patience: key(
    count().nullable().default(null),
    'Stop after so many evaluations in a row that are not better than the best by checkpoint.keepBest; null: never.',
    'early_stopping_patience',
  ),
  augmented: key(
    z.union([z.enum(['auto']), z.boolean()]).default('auto'),
    'dpo and ipo: evaluate the augmented view too, which they do not train on. auto: where p fits the model, otherwise not, ' +
      'and the run says why. sr-dpo and sr-ipo always do, sft never.',
  ),
});

const loggingSchema = z.strictObject({
  everySteps: key(count().default(1), 'Write metrics every so many steps.', 'logging_steps'),
  tensorboard: key(
    z.boolean().default(true),
    'Also write TensorBoard event files into the output folder.',
    'report_to',
  ),
});

/** With the name of a source, if it has one. */
export const KEPT_METRIC = /^eval_(?:([\w.-]+)_)?(loss|rewards\/accuracies)$/;

const checkpointSchema = z.strictObject({
  everySteps: key(
    count().nullable().default(null),
    'Write a checkpoint every so many steps; null: not by steps. One is written at the end and when interrupted, too.',
    'save_steps',
    'save_strategy',
  ),
  everyMinutes: key(
    z.number().positive().nullable().default(10),
    'Write a checkpoint after the step that ends so many minutes after the last one; null: not by time.',
  ),
  keepLast: key(
    z.union([count(), z.literal('all')]).default(2),
    'Checkpoints kept, the newest; older ones are deleted. all: every one is kept.',
    'save_total_limit',
  ),
  keepBest: key(
    z
      .string()
      .regex(
        KEPT_METRIC,
        'Expected eval_loss or eval_rewards/accuracies, or one of a named source: eval_NAME_loss',
      )
      .nullable()
      .default(null),
    'Metric of the evaluations whose best one is saved as a checkpoint, kept beyond keepLast: the lowest loss or the highest ' +
      'accuracy, the first of equals; eval_NAME_loss and eval_NAME_rewards/accuracies are those of a named source of data.eval. The evaluation before the first step does not count. null: none.',
    'metric_for_best_model',
    'load_best_model_at_end',
  ),
});

const outputSchema = z.strictObject({
  folder: key(path(), 'Run folder, created by the run.', 'output_dir', 'run_name'),
  model: key(
    z.enum(['last', 'best']).default('last'),
    'The weights that final/ gets: those after the last step, or those of the best checkpoint (checkpoint.keepBest).',
  ),
});

const referenceSchema = z.strictObject({
  model: key(
    path().nullable().prefault(null),
    'Reference model, named as in model.path; null: the policy itself before the first step.',
    'ref_model',
  ),
  cacheFolder: key(
    path().nullable().prefault(null),
    'Folder of the cached reference log-probabilities; null: reference-cache in output.folder.',
    'precompute_ref_log_probs',
  ),
  verifyPairs: key(
    z.int().min(0).default(2),
    'Cached pairs that are computed again and compared when a cache is reused.',
  ),
});

export const configSchema = z.strictObject({
  method: key(
    z.enum(METHODS),
    'What is trained: supervised on the chosen answers, or a preference loss, plain or self-refined.',
    'loss_type',
  ),
  model: key(modelSchema, 'The model that is trained.'),
  data: key(dataSchema, 'Preference pairs.'),
  tokens: key(tokensSchema.prefault({}), 'Lengths, and what is cut.'),
  augmentation: key(
    augmentationSchema.prefault({}),
    'The augmented view of a pair: sr-dpo and sr-ipo train on it, dpo and ipo evaluate it (evaluation.augmented).',
  ),
  loss: key(lossSchema.prefault({}), 'The preference loss.'),
  sft: key(sftSchema.prefault({}), 'The supervised loss.'),
  optimizer: key(optimizerSchema.prefault({}), 'The optimizer, with the semantics of PyTorch.'),
  schedule: key(scheduleSchema.prefault({}), 'The learning rate over time.'),
  training: key(trainingSchema.prefault({}), 'Batches, length, precision.'),
  evaluation: key(evaluationSchema.prefault({}), 'Evaluation during training.'),
  logging: key(loggingSchema.prefault({}), 'Metrics.'),
  checkpoint: key(checkpointSchema.prefault({}), 'Checkpoints.'),
  output: key(outputSchema, 'Where the run is written.'),
  reference: key(referenceSchema.prefault({}), 'The reference model and its cached log-probabilities.'),
});

/** A complete configuration: every key present. Relative paths are relative to the current directory. */
export type Config = z.output<typeof configSchema>;

/** A disagreement between two keys: where to point, and what to say. */
export interface Conflict {
  readonly path: readonly string[];
  readonly message: string;
  readonly hint: string;
}

/** What no single key can check. */
export function findConflicts(config: Config): Conflict[] {
  const { method, data, tokens, augmentation, loss, training, evaluation, checkpoint, output } = config;
  const conflicts: Conflict[] = [];
  if (tokens.maxPromptTokens >= tokens.maxTokens) {
    conflicts.push({
      path: ['tokens', 'maxPromptTokens'],
      message: `${tokens.maxPromptTokens} leaves no room for a response: tokens.maxTokens is ${tokens.maxTokens}.`,
      hint: 'Make it smaller than tokens.maxTokens.',
    });
  }
  const ofTexts =
    (data.format === 'hh' && data.chat !== true) || (data.format === 'preference' && data.chat === false);
  if (augmentation.placement === 'last-user-turn' && ofTexts) {
    conflicts.push({
      path: ['augmentation', 'placement'],
      message: `The placement last-user-turn needs chat data, but data.format ${data.format} holds plain text.`,
      hint: 'Set data.chat to true, or use "prompt".',
    });
  }
  if (loss.labelSmoothing > 0 && method !== 'dpo' && method !== 'sr-dpo') {
    conflicts.push({
      path: ['loss', 'labelSmoothing'],
      message: `Label smoothing is defined for dpo and sr-dpo, not for ${method}.`,
      hint: 'Set it to 0.',
    });
  }
  if (training.microbatchPairs !== null && training.batchPairs % training.microbatchPairs !== 0) {
    conflicts.push({
      path: ['training', 'microbatchPairs'],
      message: `${training.microbatchPairs} does not divide training.batchPairs, which is ${training.batchPairs}.`,
      hint: 'Every optimizer step is made of equal microbatches.',
    });
  }
  if (evaluation.everySteps !== null && data.eval.length === 0) {
    conflicts.push({
      path: ['evaluation', 'everySteps'],
      message: 'There is nothing to evaluate on: data.eval is empty.',
      hint: 'Name files in data.eval, or set it to null.',
    });
  }
  if (evaluation.patience !== null && checkpoint.keepBest === null) {
    conflicts.push({
      path: ['evaluation', 'patience'],
      message: 'Nothing says which evaluation is better: checkpoint.keepBest is null.',
      hint: 'Set checkpoint.keepBest to eval_loss or eval_rewards/accuracies, or this to null.',
    });
  }
  if (output.model === 'best' && checkpoint.keepBest === null) {
    conflicts.push({
      path: ['output', 'model'],
      message: 'No best checkpoint is kept: checkpoint.keepBest is null.',
      hint: 'Set checkpoint.keepBest to eval_loss or eval_rewards/accuracies, or use "last".',
    });
  }
  if (checkpoint.keepBest !== null && evaluation.everySteps === null) {
    conflicts.push({
      path: ['checkpoint', 'keepBest'],
      message: 'There is nothing to choose from: evaluation.everySteps is null.',
      hint: 'Set evaluation.everySteps, and data.eval, or leave this out.',
    });
  }
  const [, keptName, kept] = KEPT_METRIC.exec(checkpoint.keepBest ?? '') ?? [];
  const names = sourcesOf(data.eval).flatMap(({ name }) => name ?? []);
  if (keptName !== undefined && !names.includes(keptName)) {
    conflicts.push({
      path: ['checkpoint', 'keepBest'],
      message: `No source of data.eval has the name ${keptName}.`,
      hint: names.length === 0 ? 'Give one a name, or use eval_loss.' : `There are ${names.join(', ')}.`,
    });
  }
  if (kept === 'rewards/accuracies' && method === 'sft') {
    conflicts.push({
      path: ['checkpoint', 'keepBest'],
      message: 'sft has no accuracies: it does not look at the rejected answers.',
      hint: 'Use eval_loss.',
    });
  }
  return conflicts;
}
