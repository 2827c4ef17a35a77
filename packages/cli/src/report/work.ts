/** A piece of work that goes on: how far it is, and when it will be done. */
import { byteSize, duration, number } from './table.js';

export interface Amount {
  readonly done: number;
  readonly total: number;
}

export class Work {
  private readonly first: number;
  private amount: Amount;
  private changedMs: number;

  /**
   * @param name as in "saving"
   * @param unit as in "pairs", of which 1,000 are "1,000/4,000 pairs"; null: "1000/4000"
   * @param subject what it is about, as a file name, or more that stands behind the numbers
   */
  constructor(
    readonly name: string,
    readonly unit: string | null,
    amount: Amount,
    private readonly startMs: number,
    readonly subject = '',
  ) {
    this.first = amount.done;
    this.amount = amount;
    this.changedMs = startMs;
  }

  update(amount: Amount, nowMs: number): void {
    this.amount = amount;
    this.changedMs = nowMs;
  }

  isSame(name: string, subject: string): boolean {
    return this.name === name && this.subject === subject;
  }

  /** "evaluation  120/2,000 pairs  ETA 12m30s"; what stands last is the first to be cut off on a narrow terminal. */
  text(nowMs: number, details = this.subject): string {
    return [`${this.name}${this.unit === null ? ' ' : '  '}${this.count()}`, this.time(nowMs), details]
      .filter(part => part !== '')
      .join('  ');
  }

  private count(): string {
    const { done, total } = this.amount;
    if (this.unit === null) return `${done}/${total}`;
    const show = this.unit === 'bytes' ? byteSize : number;
    const amount = `${show(done)}/${show(total)}`;
    return this.unit === 'bytes' ? amount : `${amount} ${this.unit}`;
  }

  private time(nowMs: number): string {
    const { done, total } = this.amount;
    if (done >= total) return '';
    if (done === this.first) {
      const waited = nowMs - this.startMs;
      return waited < 1000 ? '' : `${duration(waited / 1000)} so far`;
    }
    const msEach = (this.changedMs - this.startMs) / (done - this.first);
    const leftMs = Math.max(0, msEach * (total - done) - (nowMs - this.changedMs));
    return `ETA ${duration(leftMs / 1000)}`;
  }
}
