import * as sralign from '@sralign/core';

const folder = 'examples/models/stories260k';
const config = sralign.parseConfig({
  method: 'sr-dpo',
  model: { path: folder },
  data: { format: 'hh', train: 'examples/data/hh-rlhf/harmless-base.train.jsonl.gz', maxTrainPairs: 128 },
  tokens: { maxTokens: 256, maxPromptTokens: 160, longPrompt: 'drop' },
  augmentation: { maxTokens: 144 },
  output: { folder: 'runs/api' },
});
const model = await sralign.loadModel(folder, { dtype: config.training.dtype });
const tokenizer = await sralign.loadTokenizer(folder);
const { rows } = await sralign.readPreferenceRows(config.data.train, config.data.format);
const encoding = { policy: config.tokens, augmentation: config.augmentation };
const dataset = sralign.encodePairs(rows.slice(0, config.data.maxTrainPairs), tokenizer, encoding);
const pairs = sralign.withReference(model, dataset); // the model before the first step is the reference

const { method, loss, sft, optimizer, training } = config;
const options = { method, ...loss, sftReduction: sft.reduction, optimizer, ...training };
const trainer = new sralign.PreferenceTrainer(model, dataset.sharedAugmentation, options);
const sampler = new sralign.Sampler(pairs.length, training.seed);
for (let step = 1; step <= 10; step++) {
  const metrics = await trainer.step(
    sampler.next(16).map(index => pairs[index]),
    1e-4,
  );
  console.log(step, metrics.loss, metrics.margin, metrics['rewards/accuracies']);
}
await sralign.saveModel(model, config.output.folder, folder);
