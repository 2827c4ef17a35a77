import * as sralign from '@sralign/core';

const folder = 'examples/models/stories260k';
const config = sralign.parseConfig({
  method: 'sr-dpo',
  model: { path: folder },
  data: { format: 'hh', train: 'examples/data/hh-rlhf/harmless-base.train.jsonl.gz' },
  tokens: { maxTokens: 256, maxPromptTokens: 160, longPrompt: 'drop' },
  augmentation: { maxTokens: 144 },
  training: { microbatchPairs: 16 },
  output: { folder: 'runs/api' },
});
const model = await sralign.loadModel(folder, { dtype: 'f32' });
const tokenizer = await sralign.loadTokenizer(folder);
const { sources } = await sralign.resolveSources(config, 'training');
const { rows } = await sralign.readRows(sources, sralign.readingOf(config));
const encoding = { policy: config.tokens, augmentation: config.augmentation };
const dataset = sralign.encodePairs(rows.slice(0, 64), tokenizer, encoding);
const pairs = sralign.withReference(model, dataset); // the reference: the model before its first step

const { method, loss, sft, optimizer, training } = config;
const options = { method, ...loss, sftReduction: sft.reduction, optimizer, ...training };
const trainer = new sralign.PreferenceTrainer(model, dataset.sharedAugmentation, options);
for (let step = 1; step <= 5; step++) {
  const { margin, ...metrics } = await trainer.step(pairs, 2e-5);
  console.log(`step ${step}  loss ${metrics.loss.toFixed(4)}  margin ${margin.toFixed(3)}`);
}
await sralign.saveModel(model, config.output.folder, await sralign.readCompanions(folder));
