/** What a run reports while it goes on. Core never prints; the command line and other programs listen. */
import type { View } from '../batch/pack.js';
import type { DataReport } from '../data/rows.js';
import type { ShareInterval } from '../metrics/intervals.js';
import type { MemoryFit } from '../plan/fit.js';
import type { Progress } from '../progress.js';
import type { Overlap } from '../shard/trace.js';
import type { Sharding } from '../shard/unit.js';
import type { BestEvaluation } from './state.js';

export type TrainEvent =
  | {
      readonly type: 'start';
      readonly runFolder: string;
      /** Asked to go on with a run. */
      readonly resume: boolean;
      /** null: from the beginning. */
      readonly resumedFromStep: number | null;
      readonly trainPairs: number;
      readonly evalPairs: number;
      readonly totalSteps: number;
      readonly parameters: number;
      /** Name of the host of every rank. */
      readonly hosts: readonly string[];
      readonly sharding: Sharding;
      readonly device: string;
      readonly dtype: string;
      readonly threads: number;
      /** What became of the records of every data file. */
      readonly reports: readonly DataReport[];
    }
  /** One sentence for people: the run goes on, though perhaps not as they think. */
  | { readonly type: 'warning'; readonly message: string }
  | ({ readonly type: 'progress' } & Progress)
  | {
      readonly type: 'reference';
      /** Of the queries as they are, or with the quality prompt in front. */
      readonly view: View;
      /** Of the pairs that the rest of the run will use. */
      readonly donePairs: number;
      readonly totalPairs: number;
      readonly cached: boolean;
    }
  | {
      readonly type: 'step';
      readonly step: number;
      readonly totalSteps: number;
      readonly metrics: Readonly<Record<string, number>>;
    }
  | {
      readonly type: 'evaluate';
      readonly step: number;
      readonly metrics: Readonly<Record<string, number>>;
      /** Of its accuracies, under their names. */
      readonly intervals: Readonly<Record<string, ShareInterval>>;
    }
  | ({ readonly type: 'trace'; readonly step: number; readonly file: string } & Overlap)
  /** The run does not fit into the memory that there is. It is refused, or with training.memoryCheck: warn goes on. */
  | { readonly type: 'memory'; readonly fit: MemoryFit }
  /** Something that the user did not ask for and should know, as sentences. */
  | { readonly type: 'notice'; readonly message: string }
  | {
      readonly type: 'checkpoint';
      readonly step: number;
      readonly folder: string;
      /** The best so far, by checkpoint.keepBest. */
      readonly best: boolean;
    }
  /** evaluation.patience has run out. */
  | ({ readonly type: 'early-stop'; readonly step: number } & Pick<TrainResult, 'best'>)
  /** The run that was to be resumed is finished: nothing is done. */
  | { readonly type: 'finished'; readonly step: number; readonly finalFolder: string }
  | {
      readonly type: 'end';
      readonly step: number;
      readonly interrupted: boolean;
      readonly runFolder: string;
      readonly finalFolder: string | null;
      readonly seconds: number;
    };

export interface TrainResult {
  readonly runFolder: string;
  /** The trained model as a Hugging Face folder; null when interrupted. */
  readonly finalFolder: string | null;
  readonly steps: number;
  /** Step whose weights finalFolder holds: the last, or the best one's (output.model); null when interrupted. */
  readonly finalStep: number | null;
  /** The best evaluation by checkpoint.keepBest; null without. */
  readonly best: BestEvaluation | null;
  /** evaluation.patience ran out before the last step. */
  readonly stoppedEarly: boolean;
  readonly interrupted: boolean;
  /** The last evaluation's metrics, or the last step's; where final/ is the best model, those of its evaluation. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Of the accuracies among them, under their names. */
  readonly intervals: Readonly<Record<string, ShareInterval>>;
  /** Of the whole call: reading, the reference and evaluation included. */
  readonly seconds: number;
}
