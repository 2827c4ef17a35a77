/** Public interface of @sralign/core. */
export { type PackedBatch, packExamples, packPairs, type View } from './batch/pack.js';
export { consolidate } from './checkpoint/consolidate.js';
export { chooseDevice } from './comm/compute.js';
export { deviceOfRank, failWorld, joinWorld, leaveWorld, worldCommunicator } from './comm/world.js';
export { configJsonSchema, describeConfig } from './config/describe.js';
export { environment, type Ranks } from './config/env.js';
export { loadConfig, parseConfig, stringifyConfig } from './config/load.js';
export { isRefined, METHODS, type Method } from './config/method.js';
export type { Config } from './config/schema.js';
export { DEFAULT_AUGMENTATION_PROMPT } from './config/schema.js';
export { withoutSecrets } from './config/secrets.js';
export { readPreferenceRows, readRows } from './data/read.js';
export { measuredLimits, type Reading, type ReadLimits, readingOf } from './data/reading.js';
export { dataReports, dataWarnings } from './data/report.js';
export { RowCounter } from './data/row-counts.js';
export type { ChatMessage, DataReport, PreferenceRow, ReadReport } from './data/rows.js';
export { Sampler, type WeightedPairs } from './data/sampler.js';
export type { DataSource } from './data/source.js';
export * from './errors.js';
export { writeFileAtomic } from './files.js';
export { type GenerateOptions, generateText, generateTokens } from './generate/generate.js';
export { resolveSources } from './hf/data-sources.js';
export { type Companions, readCompanions } from './hf/folder.js';
export { type ResolveOptions, resolveModelFolder } from './hf/resolve.js';
export type { PreferenceOptions } from './loss/preference.js';
export { scorePairs } from './loss/score.js';
export {
  accuracyIntervals,
  type BootstrapOptions,
  bootstrapMean,
  type Interval,
  type ShareInterval,
  wilson,
} from './metrics/intervals.js';
export { readMetrics } from './metrics/jsonl.js';
export { CausalLM } from './model/causal-lm.js';
export { type LoadModelOptions, loadModel, readModelSpec } from './model/load.js';
export { sequenceLogits } from './model/logits.js';
export { saveModel } from './model/save.js';
export type { MemoryChange, MemoryFit } from './plan/fit.js';
export { stepFlops } from './plan/flops.js';
export type { MemoryPlan } from './plan/memory.js';
export { type Alternative, type PlanRequest, planRun, type RunPlan } from './plan/plan.js';
export { listenToProgress, type Progress } from './progress.js';
export type { AnswerLogps } from './reference/cache.js';
export { SHARDINGS, type Sharding, type ShardingOptions } from './shard/unit.js';
export { BUILT_IN_TEMPLATES, type BuiltInTemplate } from './tokens/built-in-templates.js';
export { renderChat } from './tokens/chat-template.js';
export { endOfTurnNotice } from './tokens/completion.js';
export {
  type EncodedDataset,
  type EncodedExample,
  type EncodedPair,
  type EncodedSequence,
  encodePairs,
} from './tokens/encode.js';
export { encodeSequences, type SequenceOptions } from './tokens/encode-sequence.js';
export {
  type ExampleTokens,
  type PairTokens,
  promptAndAnswer,
  type SequenceTokens,
} from './tokens/examples.js';
export { type EndRules, explainPair, type PairExplanation } from './tokens/explain.js';
export { explainSequences, type SequenceExplanation } from './tokens/explain-sequence.js';
export type { TokenLimits } from './tokens/row-encoder.js';
export { type EncodedForRun, encodeForRun } from './tokens/run-data.js';
export { textNotices } from './tokens/text-notices.js';
export { loadTokenizer, type Tokenizer } from './tokens/tokenizer.js';
export type { TrainEvent, TrainResult } from './train/events.js';
export {
  PreferenceTrainer,
  type PreferenceTrainerOptions,
  type TrainingPair,
} from './train/preference-trainer.js';
export { type TrainOptions, train } from './train/trainer.js';
export { rowWarnings } from './train/warnings.js';
export { withReference } from './train/with-reference.js';
export type { QuantityReport, VerifyReport } from './verify/report.js';
export { verifyCase } from './verify/verify.js';
