/** Time and memory of the phases of a step. */
import { currentDevice, memory, resetPeakMemory } from '@sralign/native';

export type Phase = 'augmented' | 'forward' | 'head' | 'backward' | 'optimizer';

export class Phases {
  private readonly timesMs = new Map<Phase, number>();
  private readonly peakBytes = new Map<Phase, number>();

  /** Runs a phase; its times add up over the microbatches of a step. Starts the engine's peak of memory again. */
  run<T>(phase: Phase, body: () => T): T {
    resetPeakMemory();
    const startMs = performance.now();
    const result = body();
    this.timesMs.set(phase, (this.timesMs.get(phase) ?? 0) + performance.now() - startMs);
    this.peakBytes.set(phase, Math.max(this.peakBytes.get(phase) ?? 0, memory().peakBytes));
    return result;
  }

  /**
   * `time/<phase>_ms` (on the CPU only: a GPU is still at work when a phase has queued its operations),
   * `memory/<phase>_bytes` (the most tensor memory in use during the phase: weights, gradients and optimizer state too)
   * and `memory/workspace_bytes` (what the operations keep for themselves).
   */
  metrics(): Record<string, number> {
    const metrics: Record<string, number> = {};
    if (currentDevice() === 'cpu')
      for (const [phase, timeMs] of this.timesMs) metrics[`time/${phase}_ms`] = timeMs;
    for (const [phase, bytes] of this.peakBytes) metrics[`memory/${phase}_bytes`] = bytes;
    metrics['memory/workspace_bytes'] = memory().workspaceBytes;
    return metrics;
  }
}
