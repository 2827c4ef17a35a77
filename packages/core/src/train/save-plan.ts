/** The files of a checkpoint and of final/, and their sizes, before they are written. */
import { CHECKSUMS_FILE } from '../checkpoint/checksums.js';
import type { PlannedFile } from '../checkpoint/rehearsal.js';
import type { Companions } from '../hf/folder.js';
import { plannedWeightFiles } from '../hf/safetensors-writer.js';
import type { CausalLM } from '../model/causal-lm.js';
import { MAX_SHARD_BYTES, storedTensors } from '../model/save.js';
import { momentNames, type OptimizerOptions } from '../optim/optimizer.js';
import { OPTIMIZER_FILE } from '../shard/saved-tensors.js';
import { isSharded, SHARDS_FILE, shardFileName } from '../shard/shards-file.js';
import { INPUTS_FILE } from './inputs.js';
import { STATE_FILE } from './state.js';

const F32_BYTES = 4;
/** Of what JSON says about a tensor, at most. */
const TENSOR_ENTRY_BYTES = 256;
/** Of a small JSON file or a card, at most. */
const SMALL_FILE_BYTES = 2 ** 16;

/** What this rank writes into a checkpoint. */
export function checkpointFiles(
  model: CausalLM,
  optimizer: OptimizerOptions['name'],
  companions: Companions,
): PlannedFile[] {
  const { communicator, flats } = model.units;
  const { rank, worldSize } = communicator;
  const copies = 1 + momentNames(optimizer).length;
  const valueBytes = flats.reduce((sum, flat) => sum + (flat.layout.size / flat.shards) * F32_BYTES, 0);
  const tensors = [...storedTensors(model)].length;
  const entryBytes = TENSOR_ENTRY_BYTES * (tensors + flats.length + 1);
  const sharded = isSharded(flats);
  const files: PlannedFile[] = [];
  if (sharded) {
    files.push({ name: shardFileName(rank, worldSize), bytes: copies * (valueBytes + entryBytes) });
  }
  if (rank > 0) return files;
  if (sharded) files.push({ name: SHARDS_FILE, bytes: entryBytes });
  else {
    files.push(...weightFiles(model));
    files.push({ name: OPTIMIZER_FILE, bytes: (copies - 1) * (valueBytes + entryBytes) });
  }
  for (const name of [STATE_FILE, INPUTS_FILE, CHECKSUMS_FILE]) files.push({ name, bytes: SMALL_FILE_BYTES });
  return [...files, ...companionFiles(companions)];
}

/** What the first rank writes into final/. */
export function finalFiles(model: CausalLM, companions: Companions): PlannedFile[] {
  return [
    ...weightFiles(model),
    ...companionFiles(companions),
    { name: 'README.md', bytes: SMALL_FILE_BYTES },
  ];
}

const weightFiles = (model: CausalLM): PlannedFile[] =>
  plannedWeightFiles(storedTensors(model), { maxShardBytes: MAX_SHARD_BYTES }, TENSOR_ENTRY_BYTES);

const companionFiles = ({ files, config }: Companions): PlannedFile[] => [
  ...[...files].map(([name, { length }]) => ({ name, bytes: length })),
  { name: 'config.json', bytes: JSON.stringify(config, null, 2).length + TENSOR_ENTRY_BYTES },
];
