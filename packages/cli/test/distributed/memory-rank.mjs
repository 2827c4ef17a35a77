// One rank: a training step of a model of random weights; rank 0 prints what every rank has before and after, in bytes.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { joinWorld, leaveWorld, loadModel, PreferenceTrainer, worldCommunicator } from '@sralign/core';
import { memory } from '@sralign/native';

const [, , sharding, dtype] = process.argv;
joinWorld();
const communicator = worldCommunicator('cpu');
const folder = mkdtempSync(join(tmpdir(), 'sralign-memory-'));
const spec = {
  model_type: 'llama',
  vocab_size: 1000,
  hidden_size: 128,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  intermediate_size: 384,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  max_position_embeddings: 64,
};
writeFileSync(join(folder, 'config.json'), JSON.stringify(spec));
const model = await loadModel(folder, { dtype, randomSeed: 1, sharding: { communicator, sharding } });
rmSync(folder, { recursive: true });
const trainer = new PreferenceTrainer(model, new Int32Array(0), {
  ...{
    method: 'dpo',
    beta: 0.1,
    lambda: 0,
    labelSmoothing: 0,
    logpReduction: 'sum',
    sftReduction: 'example',
  },
  optimizer: { name: 'adamw', alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
  ...{ maxGradNorm: 10, microbatchPairs: 1, activationCheckpointing: false },
});
const ids = phase => Int32Array.from({ length: 4 }, (_, i) => 7 * i + phase);
const reference = { chosen: -20, rejected: -20 };
const pairs = Array.from({ length: communicator.worldSize }, (_, i) => ({
  tokens: { prompt: ids(i), augmentedPrompt: ids(i), chosen: ids(i + 1), rejected: ids(i + 2) },
  ...{ reference, augmentedReference: null, source: `pair ${i}` },
}));
const metrics = await trainer.step(pairs, 1e-6);
// The rotary tables are not shared.
const rotaryBytes = 2 * spec.max_position_embeddings * (spec.hidden_size / spec.num_attention_heads / 2) * 4;
const peakBytes = Math.max(
  ...Object.entries(metrics).flatMap(([name, bytes]) => (/^memory\/.*_bytes$/.test(name) ? [bytes] : [])),
);
const figures = communicator.exchange({ keptBytes: memory().liveBytes - rotaryBytes, peakBytes });
const unitBytes = model.units.units.map(unit =>
  unit.parameters.reduce((bytes, { size }) => bytes + 4 * size, 0),
);
if (communicator.rank === 0) {
  const parameterBytes = 4 * model.parameterCount;
  console.log(JSON.stringify({ figures, parameterBytes, largestUnitBytes: Math.max(...unitBytes) }));
}
leaveWorld();
