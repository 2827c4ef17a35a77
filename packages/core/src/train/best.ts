/** Which evaluation was the best so far, and whether it is time to stop waiting for a better one. */
import type { Config } from '../config/schema.js';
import type { BestEvaluation, TrainerState } from './state.js';

type Counts = Pick<TrainerState, 'keepBest' | 'best' | 'evaluationsSinceBest'>;

export class EvaluationWatch {
  private readonly metric: Config['checkpoint']['keepBest'];
  private readonly patience: number | null;
  private counts: Counts;

  /** @param before of the checkpoint that the run goes on from; it does not count under another keepBest */
  constructor({ checkpoint, evaluation }: Pick<Config, 'checkpoint' | 'evaluation'>, before: Counts | null) {
    this.metric = checkpoint.keepBest;
    this.patience = evaluation.patience;
    this.counts = { keepBest: this.metric, best: null, evaluationsSinceBest: 0 };
    if (before?.keepBest === this.metric) {
      const { best, evaluationsSinceBest } = before;
      this.counts = { ...this.counts, best, evaluationsSinceBest };
    }
  }

  /** Takes an evaluation into account. @returns whether it is the best so far */
  add(step: number, metrics: Readonly<Record<string, number>>): boolean {
    const { metric } = this;
    if (metric === null) return false;
    const value = metrics[metric] ?? Number.NaN;
    if (this.isBetter(value)) {
      this.counts = { keepBest: metric, best: { metric, value, step }, evaluationsSinceBest: 0 };
      return true;
    }
    this.counts = { ...this.counts, evaluationsSinceBest: this.counts.evaluationsSinceBest + 1 };
    return false;
  }

  /** Whether evaluation.patience has run out. */
  get isOver(): boolean {
    return this.patience !== null && this.counts.evaluationsSinceBest >= this.patience;
  }

  get best(): BestEvaluation | null {
    return this.counts.best;
  }

  /** To be kept in a checkpoint. */
  get state(): Counts {
    return this.counts;
  }

  /** NaN is never better, and neither is what is equal. */
  private isBetter(value: number): boolean {
    if (!Number.isFinite(value)) return false;
    const { best } = this.counts;
    if (best === null) return true;
    return this.metric?.endsWith('loss') === true ? value < best.value : value > best.value;
  }
}
