/** Starts a run up to its first step, and prints what that took as JSON: `data-start.js FILE MODEL CACHE RUN`. */
import { parseConfig, train } from '@sralign/core';

const [file, model, cacheFolder, folder] = process.argv.slice(2) as [string, string, string, string];
const config = parseConfig({
  method: 'sr-dpo',
  model: { path: model, init: 'random' },
  data: { format: 'hh', train: file, cacheFolder },
  tokens: { longPrompt: 'keep-end' },
  training: { maxSteps: 1, batchPairs: 1 },
  output: { folder },
});
const controller = new AbortController();
await train(config, {
  signal: controller.signal,
  onEvent: event => {
    if (event.type !== 'start') return;
    const figures = { pairs: event.trainPairs, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    controller.abort();
  },
});
