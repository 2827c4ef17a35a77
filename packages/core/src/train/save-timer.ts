/** When checkpoints are due by the clock: that of the first rank decides for all. */
import type { Communicator } from '@sralign/native';

const MS_PER_MINUTE = 60_000;

export class SaveTimer {
  private savedMs: number;

  /** @param nowMs a clock that only goes forward, in milliseconds */
  constructor(
    private readonly everyMinutes: number | null,
    private readonly communicator: Pick<Communicator, 'worldSize' | 'exchange'>,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.savedMs = this.nowMs();
  }

  /** Whether everyMinutes have gone by since the last `restart`. All ranks ask together, and get the same answer. */
  isDue(): boolean {
    if (this.everyMinutes === null) return false;
    const due = this.nowMs() - this.savedMs >= this.everyMinutes * MS_PER_MINUTE;
    return this.communicator.worldSize === 1 ? due : this.communicator.exchange(due)[0]!;
  }

  restart(): void {
    this.savedMs = this.nowMs();
  }
}
