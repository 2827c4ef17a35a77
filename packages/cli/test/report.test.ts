/** Progress lines, tables and plots. */
import { dataWarnings, type Progress, type TrainEvent } from '@sralign/core';
import { describe, expect, it } from 'vitest';
import { dataSummary } from '../src/report/data-summary.js';
import { plot } from '../src/report/plot.js';
import { type Clock, progress } from '../src/report/progress.js';
import { byteSize, duration, number, table } from '../src/report/table.js';

/** What is on a terminal's screen, or in a log, after the writes. */
class Screen {
  text = '';
  constructor(
    readonly isTTY: boolean,
    readonly columns = 200,
  ) {}
  write(text: string): void {
    this.text += text;
  }
  get lines(): string[] {
    return this.text
      .split('\n')
      .map(line => line.slice(line.lastIndexOf('\u001b[K') + 1).replace(/^\[K/, ''));
  }
}

const step = (number: number, totalSteps = 4): TrainEvent => ({
  type: 'step',
  step: number,
  totalSteps,
  metrics: {
    loss: 0.4321,
    margin: 0.25,
    'rewards/accuracies': 0.5,
    learning_rate: 5e-7,
    tokens_per_second: 1234.5,
  },
});
const start = (totalSteps: number): TrainEvent => ({
  type: 'start',
  runFolder: 'run',
  resume: false,
  resumedFromStep: null,
  trainPairs: 4,
  evalPairs: 0,
  totalSteps,
  parameters: 1,
  hosts: ['here'],
  sharding: 'none',
  device: 'cpu',
  dtype: 'f32',
  threads: 1,
  reports: [],
});

/** Time passes when the test says so. */
class TestClock implements Clock {
  #ms = 0;
  #tick = (): void => {};
  now(): number {
    return this.#ms;
  }
  everySecond(tick: () => void): { stop(): void } {
    this.#tick = tick;
    return {
      stop: () => {
        this.#tick = () => {};
      },
    };
  }
  pass(seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.#ms += 1000;
      this.#tick();
    }
  }
}

const evaluation: TrainEvent = {
  type: 'evaluate',
  step: 2,
  metrics: { eval_loss: 0.5, eval_margin: 1, 'eval_rewards/accuracies': 0.8 },
  intervals: { 'eval_rewards/accuracies': { pairs: 10, level: 0.95, low: 0.4902, high: 0.9433 } },
};

describe('progress', () => {
  it('has a line for each named source of the evaluation', () => {
    const screen = new Screen(false);
    const ofKind = { eval_kind_loss: 0.25, 'eval_kind_rewards/accuracies': 0.5 };
    progress(screen, { everySteps: 1 })({ ...evaluation, metrics: { ...evaluation.metrics, ...ofKind } });
    expect(screen.lines[0]).toContain('evaluation at step 2  loss 0.5000');
    expect(screen.lines[1]).toBe('  kind  loss 0.2500  accuracy 0.500');
  });

  it('writes over one line on a terminal and keeps evaluations', () => {
    const screen = new Screen(true);
    const show = progress(screen, { everySteps: 10 });
    for (const event of [step(1), step(2), evaluation, step(3), step(4)]) show(event);
    expect(screen.lines).toHaveLength(2);
    expect(screen.lines[0]).toBe(
      'evaluation at step 2  loss 0.5000  margin 1.000  accuracy 0.800 (n 10, 95 %: 0.490-0.943)',
    );
    expect(screen.lines[1]).toMatch(
      /^step 4\/4 {2}loss 0\.4321 {2}margin 0\.250 {2}accuracy 0\.500 {2}lr 5\.0e-7 {2}1,235 tok\/s$/,
    );
  });

  it('never writes a line that a terminal would wrap', () => {
    const screen = new Screen(true, 30);
    progress(screen, { everySteps: 1 })(step(1));
    expect(screen.lines[0]).toHaveLength(29);
  });

  it('writes a plain line per logged step, and the last, elsewhere', () => {
    const screen = new Screen(false);
    const show = progress(screen, { everySteps: 2, label: 'DPO' });
    for (const number of [1, 2, 3, 4, 5]) show(step(number, 5));
    expect(screen.text).not.toContain('\r');
    expect(screen.lines.filter(line => line !== '').map(line => line.slice(0, 13))).toEqual([
      'DPO  step 2/5',
      'DPO  step 4/5',
      'DPO  step 5/5',
    ]);
  });

  it('leaves nothing of what is done on a terminal', () => {
    const screen = new Screen(true, 80);
    const clock = new TestClock();
    const show = progress(screen, { everySteps: 1, clock });
    for (const done of [0, 2, 10]) {
      clock.pass(1);
      show({
        type: 'progress',
        phase: 'downloading',
        subject: 'model.safetensors',
        done,
        total: 10,
        unit: 'bytes',
      });
    }
    expect(screen.text).toContain('downloading  2 B/10 B  ETA 3.0s  model.safetensors');
    expect(screen.lines).toEqual(['']);
  });

  it('shows when a run will be done within the 80 columns of a terminal', () => {
    const screen = new Screen(true, 80);
    const clock = new TestClock();
    const show = progress(screen, { everySteps: 1, label: 'Sr-DPO', clock });
    show(start(12_000));
    for (let done = 1; done <= 3; done++) {
      clock.pass(4);
      show(step(done, 12_000));
    }
    expect(screen.lines[1]).toMatch(/^Sr-DPO {2}step 3\/12000 {2}ETA 13h19m {2}loss 0\.4321 .*/);
    expect(screen.lines[1]).toHaveLength(79);
  });

  describe('where there is no terminal', () => {
    const silent = (seconds: number, ...events: TrainEvent[]): string[] => {
      const screen = new Screen(false);
      const clock = new TestClock();
      const show = progress(screen, { everySteps: 1000, clock });
      show(start(5000));
      const { length } = screen.lines;
      for (const event of events) {
        show(event);
        clock.pass(seconds);
      }
      return screen.lines.slice(length - 1).filter(line => line !== '');
    };
    const work = (phase: Progress['phase'], done: number, total: number, unit: Progress['unit']) =>
      ({ type: 'progress', phase, done, total, unit }) as const;

    it('says every half minute how far what goes on has come, and when it will be done', () => {
      const evaluating = [0, 100, 200, 300].map(done => work('evaluation', done, 1000, 'pairs'));
      expect(silent(20, ...evaluating)).toEqual([
        'evaluation  100/1,000 pairs  ETA 2m50s',
        'evaluation  200/1,000 pairs  ETA 2m20s',
      ]);
    });

    it('says it also when nothing is heard', () => {
      expect(silent(70, work('loading', 0, 2 ** 31, 'bytes'))).toEqual([
        'loading  0 B/2.0 GiB  30s so far',
        'loading  0 B/2.0 GiB  1m00s so far',
      ]);
    });

    it('says it of the reference log-probs and of long steps', () => {
      const pass = (donePairs: number): TrainEvent => ({
        type: 'reference',
        view: 'augmented',
        donePairs,
        totalPairs: 8,
        cached: false,
      });
      expect(silent(31, pass(0), pass(4), pass(8))).toEqual([
        'reference log-probs with the quality prompt  0/8 pairs  30s so far',
        'reference log-probs with the quality prompt  4/8 pairs  ETA 2.0s',
        'reference log-probs with the quality prompt  8/8 pairs',
        'step 0/5000  30s so far',
      ]);
      expect(silent(40, step(1, 5000), step(2, 5000))[0]).toBe('step 1/5000  30s so far');
    });

    it('is silent once the run has ended', () => {
      const end = {
        type: 'end',
        step: 0,
        interrupted: true,
        runFolder: '',
        finalFolder: null,
        seconds: 0,
      } as const;
      expect(silent(100, end)).toEqual([]);
    });
  });

  it('says what became of the records, and warns', () => {
    const report = {
      file: 'pairs.jsonl',
      purpose: 'training' as const,
      unit: 'pairs' as const,
      ...{ format: 'hh' as const, by: ['chosen', 'rejected'], kind: 'text' as const, badRows: [] },
      readAs: 'hh (chosen, rejected), plain text',
      rows: 2023,
      used: 2020,
      source: null,
      notDrawn: 0,
      stoppedEarly: false,
      skipped: { 'no shared prompt': 3 },
      examples: [],
      pairs: 830,
      dropped: 1180,
      equalAfterCut: 10,
      leftOut: { 'prompt too long': 1180, 'answers equal after the cut': 10, 'no shared prompt': 3 },
      pairsCut: 12,
      promptsCut: 12,
      chosenCut: 0,
      rejectedCut: 1,
      endsCut: 0,
    };
    const text =
      'pairs.jsonl, training: 2,023 records, 830 pairs, 1,193 left out (prompt too long: 1,180, ' +
      'answers equal after the cut: 10, no shared prompt: 3); cut: 12 prompts, 1 rejected; read as hh (chosen, rejected), plain text';
    expect(dataSummary(report)).toBe(text);
    const whole = { ...report, rows: 5, pairs: 5, leftOut: {}, promptsCut: 0, rejectedCut: 0, readAs: null };
    expect(dataSummary(whole)).toBe('pairs.jsonl, training: 5 records, 5 pairs');
    expect(dataSummary({ ...whole, stoppedEarly: true })).toContain('the first 5 records');
    const sampled = {
      ...whole,
      source: 'kind',
      rows: 1500,
      used: 1480,
      notDrawn: 1475,
      skipped: { tie: 20 },
    };
    expect(dataSummary(sampled)).toBe(
      'pairs.jsonl (kind), training: 1,500 records, 5 pairs, 1,475 not drawn',
    );
    expect(dataWarnings({ ...sampled, pairsCut: 0 })).toEqual([]);
    const many = { ...sampled, pairs: 4, skipped: { tie: 370 }, leftOut: { tie: 370, 'prompt too long': 1 } };
    expect(dataWarnings({ ...many, pairsCut: 0 })[0]).toContain(
      '36 % of the 1850 training pairs are left out',
    );
    const screen = new Screen(false);
    progress(screen, { everySteps: 1 })({ type: 'warning', message: 'The half is missing.' });
    expect(screen.lines[0]).toBe('warning: The half is missing.');
  });
});

describe('plot', () => {
  const series = [
    { name: 'DPO', points: [0, 10, 20].map(step => ({ step, value: step / 10 })) },
    { name: 'Sr-DPO', points: [0, 10, 20].map(step => ({ step, value: step / 20 })) },
  ];

  it('draws all series on one scale, side by side', () => {
    const lines = plot('margin by step', series).split('\n');
    expect(lines[1]).toMatch(/DPO: 2\.000 .*Sr-DPO: 1\.000/);
    const top = lines[2]!;
    expect(top.match(/2\.000 ┼/g)).toHaveLength(2);
    // The first curve reaches the top, the second only the middle.
    expect(top.match(/[─╭]/g)?.length).toBeGreaterThan(0);
    expect(top.slice(40)).not.toMatch(/[─╭]/);
    expect(Math.max(...lines.map(line => line.length))).toBeLessThanOrEqual(80);
  });

  it('draws a flat curve', () => {
    const flat = [
      {
        name: 'DPO',
        points: [
          { step: 0, value: 0.5 },
          { step: 4, value: 0.5 },
        ],
      },
    ];
    expect(plot('accuracy', flat)).toContain('DPO: 0.500');
  });
});

describe('numbers', () => {
  it.each([
    [0, '0'],
    [12, '12'],
    [0.432149, '0.4321'],
    [12345.6, '12,346'],
    [5e-7, '5.00e-7'],
    [-1.5, '-1.500'],
    [Number.NaN, 'NaN'],
    [undefined, '-'],
  ])('%s reads %s', (value, text) => {
    expect(number(value)).toBe(text);
  });

  it('have readable units', () => {
    expect([3.21, 42, 75, 4000].map(duration)).toEqual(['3.2s', '42s', '1m15s', '1h06m']);
    expect([512, 1536, 3 * 1024 ** 3].map(byteSize)).toEqual(['512 B', '1.5 KiB', '3.0 GiB']);
  });

  it('stand under each other in a table', () => {
    expect(
      table(
        ['method', 'loss'],
        [
          ['SFT', '1.5'],
          ['Sr-DPO', '0.69'],
        ],
      ),
    ).toBe('method  loss\nSFT      1.5\nSr-DPO  0.69');
  });
});
