/** Learning-rate schedules: linear warm-up, then constant, linear or cosine decay to zero. */

export interface ScheduleOptions {
  readonly name: 'constant' | 'linear' | 'cosine';
  readonly warmupSteps: number;
}

/**
 * Factor of the learning rate at an update.
 *
 * The warm-up is that of the original DPO code: (step + 1) / (warmupSteps + 1), full from update `warmupSteps` on.
 *
 * @param step updates done before this one, from 0
 * @param totalSteps updates of the whole run
 */
export function scheduleFactor(
  { name, warmupSteps }: ScheduleOptions,
  step: number,
  totalSteps: number,
): number {
  if (step < warmupSteps) return (step + 1) / (warmupSteps + 1);
  if (name === 'constant') return 1;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  const remaining = Math.max(0, 1 - progress);
  return name === 'linear' ? remaining : 0.5 * (1 + Math.cos(Math.PI * (1 - remaining)));
}
