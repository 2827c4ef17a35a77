/** Whether the steps of a run fit into the memory that there is, and which changes would make them fit. */
import { cpuInfo } from '@sralign/native';
import type { Config } from '../config/schema.js';
import { type MemoryPlan, planMemory } from './memory.js';
import { memoryOptions, shapesOf, type Way, type WayInputs } from './ways.js';

/** Where a run shall fit. */
export interface MemoryPlace {
  readonly worldSize: number;
  /** Ranks that share the memory: those of a host, or 1 on a GPU of its own. */
  readonly ranksHere: number;
  /** For all of them. */
  readonly availableBytes: number;
  /** What says so, for people. */
  readonly source: string;
}

/** A change of the configuration. */
export interface MemoryChange {
  /** Such as `training.microbatchPairs=4`, or a number of ranks. */
  readonly change: string;
  /** Of a rank. */
  readonly totalBytes: number;
  readonly fits: boolean;
}

export interface MemoryFit extends MemoryPlace {
  /** Of a rank. */
  readonly memory: MemoryPlan;
  readonly neededBytes: number;
  readonly fits: boolean;
  /** What may be changed; those that fit come first. Empty where the run fits. */
  readonly changes: readonly MemoryChange[];
}

const MOST_RANKS = 1024;

/** Compares the planned peak of a step with a place. @param inputs the model and the pairs of the run */
export function fitMemory(config: Config, inputs: WayInputs, place: MemoryPlace): MemoryFit {
  const { batchPairs, microbatchPairs, sharding, activationCheckpointing, dtype } = config.training;
  const shapes = shapesOf(inputs);
  const planned = (way: Way, worldSize: number): MemoryPlan =>
    planMemory(inputs.spec, memoryOptions(config, worldSize, way, shapes, 'longest'));
  const pairsOfRank = Math.ceil(batchPairs / place.worldSize);
  const configured = Math.min(microbatchPairs ?? pairsOfRank, pairsOfRank);
  const way: Way = { dtype, sharding, activationCheckpointing, microbatchPairs: configured };
  const memory = planned(way, place.worldSize);
  const neededBytes = memory.totalBytes * place.ranksHere;
  if (neededBytes <= place.availableBytes) return { ...place, memory, neededBytes, fits: true, changes: [] };

  const room = place.availableBytes / place.ranksHere;
  const smaller = Array.from({ length: configured }, (_, index) => configured - index).filter(
    size => batchPairs % size === 0,
  );
  const changes: MemoryChange[] = [];
  /** The same way with the largest microbatch that fits, or with the smallest. */
  const tryWay = (settings: readonly string[], other: Way, worldSize: number): boolean => {
    for (const size of [...new Set([configured, ...smaller])]) {
      const { totalBytes } = planned({ ...other, microbatchPairs: size }, worldSize);
      const fits = totalBytes <= room;
      if (!fits && size > 1) continue;
      const all = [...settings, ...(size === configured ? [] : [`training.microbatchPairs=${size}`])];
      if (all.length > 0) changes.push({ change: all.join(' '), totalBytes, fits });
      return fits;
    }
    return false;
  };
  const dtypes = dtype === 'f32' && (config.training.device !== 'cpu' || cpuInfo().nativeBf16);
  tryWay([], way, place.worldSize);
  if (!activationCheckpointing) {
    tryWay(
      ['training.activationCheckpointing=true'],
      { ...way, activationCheckpointing: true },
      place.worldSize,
    );
  }
  if (dtypes) tryWay(['training.dtype=bf16'], { ...way, dtype: 'bf16' }, place.worldSize);
  if (place.worldSize > 1 && sharding !== 'full') {
    tryWay(['training.sharding=full'], { ...way, sharding: 'full' }, place.worldSize);
  }
  for (let ranks = 2 * place.worldSize; ranks <= Math.min(MOST_RANKS, batchPairs); ranks *= 2) {
    const { totalBytes } = planned(
      { ...way, sharding: 'full', microbatchPairs: Math.min(configured, Math.ceil(batchPairs / ranks)) },
      ranks,
    );
    if (totalBytes > room) continue;
    changes.push({ change: `${ranks} ranks with as much memory each`, totalBytes, fits: true });
    break;
  }
  changes.sort((a, b) => Number(b.fits) - Number(a.fits));
  return { ...place, memory, neededBytes, fits: false, changes };
}
