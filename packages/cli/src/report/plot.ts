/** Curves in the terminal: one panel per run, side by side on one scale, so that no colour is needed to tell them apart. */
import asciichart from 'asciichart';

export interface Series {
  name: string;
  /** In the order of the steps. */
  points: { step: number; value: number }[];
}

const PANEL_WIDTH = 38;
const LABEL_WIDTH = 8;
const CURVE_WIDTH = PANEL_WIDTH - LABEL_WIDTH - 3;
const HEIGHT = 8;

/** Value at `step`, on the straight line between the points around it. */
function interpolate(points: Series['points'], step: number): number {
  const next = points.findIndex(point => point.step >= step);
  const right = points[next];
  const left = points[Math.max(0, next - 1)];
  if (right === undefined || left === undefined) return points.at(-1)?.value ?? Number.NaN;
  if (right.step === left.step) return right.value;
  return left.value + ((right.value - left.value) * (step - left.step)) / (right.step - left.step);
}

function panel({ name, points }: Series, min: number, max: number): string[] {
  const first = points[0]?.step ?? 0;
  const end = points.at(-1)?.step ?? 0;
  const values = Array.from({ length: CURVE_WIDTH }, (_, column) =>
    interpolate(points, first + ((end - first) * column) / (CURVE_WIDTH - 1)),
  );
  const chart = asciichart.plot(values, {
    min,
    max,
    height: HEIGHT,
    format: value => value.toFixed(3).padStart(LABEL_WIDTH - 1),
  });
  const indent = ' '.repeat(LABEL_WIDTH + 1);
  const axis = `${indent}${String(first).padEnd(CURVE_WIDTH - String(end).length)}${end}`;
  return [`${indent}${name}: ${points.at(-1)?.value.toFixed(3) ?? '-'}`, ...chart.split('\n'), axis];
}

/** The title, then the panels. All series must have a point and finite values. */
export function plot(title: string, series: readonly Series[]): string {
  const values = series.flatMap(({ points }) => points.map(({ value }) => value));
  const min = Math.min(...values);
  const max = Math.max(...values, min + 1e-3);
  const panels = series.map(one => panel(one, min, max));
  const lines = panels[0]?.map((_, row) =>
    panels
      .map(lines => (lines[row] ?? '').padEnd(PANEL_WIDTH))
      .join('  ')
      .trimEnd(),
  );
  return [title, ...(lines ?? [])].join('\n');
}
