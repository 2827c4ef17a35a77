/** The memory of a step by kind, and what would fit, as the command prints them. */
import type { MemoryFit, MemoryPlan } from '@sralign/core';
import { byteSize, listing, table } from './table.js';

const KINDS: Readonly<Record<keyof MemoryPlan['kinds'], string>> = {
  parameters: 'parameters, f32',
  computeCopies: 'parameters, bf16 copy',
  gradients: 'gradients',
  optimizerState: 'optimizer state',
  rotaryTables: 'rotary tables',
  activations: 'activations',
  logits: 'logits kept at a time',
  gatheredUnits: 'gathered parameters',
  unreducedGradients: 'gradients not yet summed',
  reductionScratch: 'sums under way',
  workspace: 'working memory of kernels',
};

/** @param verdict what stands behind the total */
export function memorySection({ kinds, phase, totalBytes }: MemoryPlan, verdict: string): string {
  const rows = (Object.keys(KINDS) as (keyof typeof KINDS)[])
    .filter(kind => kinds[kind] > 0)
    .map((kind): [string, string] => [KINDS[kind], byteSize(kinds[kind])]);
  return `Memory of a rank at its peak (${phase})\n${listing([
    ...rows,
    ['total', `${byteSize(totalBytes)}: ${verdict}`],
  ])}`;
}

/** A run that does not fit: its memory, and which changes would make it fit. */
export function describeFit({
  memory,
  neededBytes,
  availableBytes,
  source,
  ranksHere,
  changes,
}: MemoryFit): string {
  const ranks = ranksHere === 1 ? '' : `, ${ranksHere} ranks need ${byteSize(neededBytes)}`;
  const verdict = `DOES NOT FIT${ranks}; ${byteSize(availableBytes)} are ${source}`;
  const rows = changes.map(({ change, totalBytes, fits }) => [
    change,
    byteSize(totalBytes),
    fits ? 'fits' : 'too much',
  ]);
  const ways = rows.length === 0 ? '' : `\n${table(['change', 'memory of a rank', ''], rows)}`;
  return `${memorySection(memory, verdict)}${ways}`;
}
