/** `--trace`: what the ranks did when, and that they communicate while they compute. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { TemporaryFolder } from '../run.js';
import { tinyConfig } from '../tiny.js';
import { hasMpi, trainOnRanks } from './ranks.js';

interface Span {
  readonly name: string;
  readonly cat: string;
  readonly ph: string;
  readonly ts: number;
  readonly dur: number;
  readonly pid: number;
  readonly tid: number;
}

it.skipIf(!hasMpi)(
  'shows the passes of both ranks, with communication beside them',
  async () => {
    using folder = new TemporaryFolder();
    const file = folder.join('trace.json');
    const args = ['--trace', file, '--set', 'training.maxSteps=3', '--set', 'training.microbatchPairs=1'];
    const { code, stderr } = await trainOnRanks(2, tinyConfig(folder), args);
    expect(code).toBe(0);
    expect(stderr).toMatch(/trace .*: ranks waited .* of communication \(-?\d+ % hidden\)/);

    const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: Span[] };
    const spansOf = (pid: number, ...categories: string[]): Span[] =>
      traceEvents.filter(span => span.ph === 'X' && span.pid === pid && categories.includes(span.cat));
    const units = ['ends', 'layers.0', 'layers.1', 'layers.2', 'layers.3', 'layers.4'];
    for (const rank of [0, 1]) {
      const passes = spansOf(rank, 'forward', 'backward');
      expect(new Set(passes.map(({ name }) => name))).toEqual(new Set(units));
      expect(spansOf(rank, 'step').map(({ name }) => name)).toEqual(['step 1', 'step 2', 'step 3']);
      // Two microbatches in a step: gradients are summed in the second only, once for every unit.
      const [first] = spansOf(rank, 'step');
      const inside = ({ ts, dur }: Span): boolean => ts >= first!.ts && ts + dur <= first!.ts + first!.dur;
      const communication = spansOf(rank, 'communication');
      expect(communication.filter(span => span.name === 'reduce-scatter' && inside(span))).toHaveLength(6);
      // Some communication goes on beside the passes; how much depends on what else the machine does.
      const beside = communication.filter(({ ts, dur }) =>
        passes.some(pass => pass.ts < ts + dur && ts < pass.ts + pass.dur),
      );
      expect(beside.length).toBeGreaterThan(0);
    }
    const order = (pid: number): string[] => spansOf(pid, 'communication').map(({ name }) => name);
    expect(order(1)).toEqual(order(0));
  },
  60_000,
);
