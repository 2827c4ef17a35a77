/** The README.md of a trained model: what was done to it, with which data and settings, and how to load it. */
import { cpus } from 'node:os';
import { basename, join, relative, resolve, sep } from 'node:path';
import { stringify } from 'yaml';
import { unitOf } from '../config/method.js';
import type { SourceConfig } from '../config/schema/data.js';
import type { Config } from '../config/schema.js';
import { cutParts } from '../data/report.js';
import type { DataReport } from '../data/rows.js';
import { writeFileAtomic } from '../files.js';
import { frontMatter } from './front-matter.js';
import { hubIdOf } from './hub.js';
import { CHECKPOINT_NAME, CHECKPOINTS_FOLDER, FINAL_FOLDER } from './run-models.js';

/** Of a share of pairs, at a confidence level such as 0.95. */
interface CardInterval {
  readonly pairs: number;
  readonly level: number;
  readonly low: number;
  readonly high: number;
}

export interface ModelCard {
  readonly config: Config;
  /** The folder that model.path stands for. */
  readonly modelFolder: string;
  /** The card of that model, or null. */
  readonly baseCard: string | null;
  readonly reports: readonly DataReport[];
  /** Pairs that were trained on. */
  readonly trainPairs: number;
  readonly steps: number;
  /** The last of the run. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Of its accuracies, under their names. */
  readonly intervals: Readonly<Record<string, CardInterval>>;
  readonly seconds: number;
}

/** Name and loss of each method (loss/preference.ts). */
const METHODS: Readonly<Record<Config['method'], { title: string; equation: string }>> = {
  sft: { title: 'supervised fine-tuning (SFT)', equation: 'L = -log π(y⁺|x)' },
  dpo: { title: 'direct preference optimization (DPO)', equation: 'L = -log σ(β·m)' },
  ipo: { title: 'identity preference optimization (IPO)', equation: 'L = (m - 1/(2β))²' },
  'sr-dpo': { title: 'self-refined DPO (Sr-DPO)', equation: 'L = -log σ(β·m - λ·Δ)' },
  'sr-ipo': { title: 'self-refined IPO (Sr-IPO)', equation: 'L = (m - λ·Δ - 1/(2β))²' },
};

/** Writes README.md into the folder of a trained model. */
export async function writeModelCard(folder: string, card: ModelCard): Promise<void> {
  await writeFileAtomic(join(folder, 'README.md'), modelCard(card, statedFact(card.baseCard, 'license')));
}

function modelCard(card: ModelCard, license: string | undefined): string {
  const { reports, trainPairs, steps, metrics, intervals, seconds } = card;
  const config = withoutPlaces(card.config);
  const { title, equation } = METHODS[config.method];
  const unit = unitOf(config.method);
  const base = baseOf(card);
  const frontMatter = {
    ...(base.hubId !== null && { base_model: base.hubId }),
    library_name: 'transformers',
    pipeline_tag: 'text-generation',
    ...(license !== undefined && { license }),
    tags: ['sralign', config.method, ...(config.method === 'sft' ? [] : ['preference-optimization'])],
  };
  return `---
${stringify(frontMatter)}---

# ${base.name}${base.isTrained ? ', then' : ' after'} ${title}

Trained by sralign${config.model.init === 'random' ? ' from random weights' : ` from ${base.name}`}. The loss of ${config.method === 'sft' ? 'an answer y⁺' : 'a pair of a chosen answer y⁺ and a rejected answer y⁻'} to a prompt x is

    ${equation}

${symbols(config)}
## Data

${trainPairs} ${unit}, ${steps} steps of ${config.training.batchPairs} ${unit}.

| file | for | records | ${unit} | left out | cut |
|---|---|---|---|---|---|
${reports.map(reportRow).join('\n')}

## Results

| metric | value |
|---|---|
${Object.entries(metrics)
  .map(([name, value]) => `| ${name} | ${Number(value.toPrecision(6))}${shareSuffix(intervals[name])} |`)
  .join('\n')}

The run took ${duration(seconds)} on ${cpus()[0]?.model ?? process.arch} (${config.training.dtype}).

## Use

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
\`\`\`

\`\`\`sh
npx sralign generate path/to/this/folder --prompt "..."
\`\`\`

## Settings

\`\`\`yaml
${stringify(config, { lineWidth: 0 })}\`\`\`

## Citation

Yu, Wang, Jiao, Zhang, Kwok: *Direct Alignment of Language Models via
Quality-Aware Self-Refinement*. arXiv 2405.21040.
`;
}

function shareSuffix(interval: CardInterval | undefined): string {
  if (interval === undefined) return '';
  const { pairs, level, low, high } = interval;
  return ` (of ${pairs} pairs; ${100 * level} % interval ${low.toFixed(3)} to ${high.toFixed(3)})`;
}

/** A path as it may be published: relative to the current folder, or only its name where it lies elsewhere. */
function withoutPlace(path: string): string {
  const near = relative('', path);
  return near === '' || near.startsWith('..') ? basename(resolve(path)) : near;
}

const sourceWithoutPlace = (source: string | SourceConfig): string | SourceConfig => {
  if (typeof source === 'string') return withoutPlace(source);
  return source.path === undefined ? source : { ...source, path: withoutPlace(source.path) };
};

/** The settings without the folders of this machine. */
function withoutPlaces(config: Config): Config {
  const { model, data, tokens, reference, output } = config;
  const optional = (path: string | null): string | null => path && withoutPlace(path);
  return {
    ...config,
    model: { ...model, path: withoutPlace(model.path), tokenizer: optional(model.tokenizer) },
    data: {
      ...data,
      train: data.train.map(sourceWithoutPlace),
      eval: data.eval.map(sourceWithoutPlace),
      cacheFolder: optional(data.cacheFolder),
    },
    tokens: { ...tokens, chatTemplate: optional(tokens.chatTemplate) },
    reference: {
      ...reference,
      model: optional(reference.model),
      cacheFolder: optional(reference.cacheFolder),
    },
    output: { ...output, folder: withoutPlace(output.folder) },
  };
}

function symbols({ method, loss }: Config): string {
  if (method === 'sft') return '';
  const margin = `where m = [log π(y⁺|x) - log π_ref(y⁺|x)] - [log π(y⁻|x) - log π_ref(y⁻|x)] and β = ${loss.beta}`;
  if (method === 'dpo' || method === 'ipo') return `${margin}.\n`;
  return `${margin}; Δ is β times the same margin, measured without gradient under the prompt p ⊕ x that asks for quality
(augmentation.prompt below), and λ = ${loss.lambda}.\n`;
}

function reportRow(report: DataReport): string {
  const { file, source, purpose, unit, rows, stoppedEarly, pairs, used, notDrawn } = report;
  const reasons = Object.entries(report.leftOut).map(([reason, count]) => `${count} ${reason}`);
  const sampled = notDrawn === 0 ? '' : ` (${used - notDrawn} of ${used} ${unit} drawn)`;
  const records = stoppedEarly ? `the first ${rows}` : `${rows}${sampled}`;
  const name = source === null ? '' : `${source}: `;
  return `| ${name}${withoutPlace(file)} | ${purpose} | ${records} | ${pairs} | ${reasons.join('; ') || '-'} | ${cutParts(report) || '-'} |`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

interface Base {
  /** "org/base", or "base after supervised fine-tuning (SFT)" where a run of sralign has made it. */
  readonly name: string;
  readonly isTrained: boolean;
  /** Of the model of the hub that it is or comes from, or null. */
  readonly hubId: string | null;
}

function baseOf({ modelFolder, baseCard }: ModelCard): Base {
  const hubId = hubIdOf(modelFolder);
  const title = hubId === null ? trainedTitle(baseCard) : null;
  return {
    name: title ?? hubId ?? folderName(modelFolder),
    isTrained: title !== null,
    hubId: hubId ?? (title === null ? null : (statedFact(baseCard, 'base_model') ?? null)),
  };
}

/** The title of a card that a run has written: "base after ...". */
const trainedTitle = (card: string | null): string | null =>
  /^# (.+ after .+)\n\nTrained by sralign /m.exec(card ?? '')?.[1] ?? null;

/** "base"; of the models of a run, the name of its folder. */
function folderName(folder: string): string {
  const parts = resolve(folder).split(sep);
  const step = CHECKPOINT_NAME.exec(parts.at(-1)!)?.[1];
  if (step !== undefined && parts.at(-2) === CHECKPOINTS_FOLDER)
    return `${parts.at(-3)}, step ${Number(step)},`;
  return parts.at(-1) === FINAL_FOLDER ? parts.at(-2)! : parts.at(-1)!;
}

/** A text in the front matter of the card of the base model, if it has a card that states it. */
function statedFact(card: string | null, name: 'license' | 'base_model'): string | undefined {
  const fact = frontMatter(card ?? '')[name];
  return typeof fact === 'string' ? fact : undefined;
}
