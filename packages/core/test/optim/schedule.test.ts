import { describe, expect, it } from 'vitest';
import { scheduleFactor } from '../../src/optim/schedule.js';

describe('scheduleFactor', () => {
  it('warms up as the original DPO code: 1/151 first, full from update 150 on', () => {
    const schedule = { name: 'constant', warmupSteps: 150 } as const;
    expect(scheduleFactor(schedule, 0, 1000)).toBeCloseTo(1 / 151, 12);
    expect(scheduleFactor(schedule, 149, 1000)).toBeCloseTo(150 / 151, 12);
    expect(scheduleFactor(schedule, 150, 1000)).toBe(1);
    expect(scheduleFactor(schedule, 999, 1000)).toBe(1);
  });

  it('decays to zero, linearly or along a cosine', () => {
    const linear = { name: 'linear', warmupSteps: 0 } as const;
    const cosine = { name: 'cosine', warmupSteps: 0 } as const;
    expect([0, 5, 10].map(step => scheduleFactor(linear, step, 10))).toEqual([1, 0.5, 0]);
    expect(scheduleFactor(cosine, 5, 10)).toBeCloseTo(0.5, 12);
    expect(scheduleFactor(cosine, 10, 10)).toBeCloseTo(0, 12);
  });
});
