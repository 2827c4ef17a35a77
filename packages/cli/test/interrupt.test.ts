/** What counts as a request to stop. */
import { afterEach, describe, expect, it } from 'vitest';
import { onStopRequests } from '../src/interrupt.js';

describe('requests to stop', () => {
  let stopListening = (): void => {};
  afterEach(() => stopListening());

  it.each<[string, NodeJS.Signals[], number[]]>([
    ['a second Ctrl-C stops at once', ['SIGINT', 'SIGINT'], [1, 2]],
    ['a closed terminal is told of several times', ['SIGHUP', 'SIGHUP', 'SIGHUP'], [1]],
    ['a session that ends sends SIGTERM and SIGHUP', ['SIGTERM', 'SIGHUP'], [1]],
    ['or the other way round', ['SIGHUP', 'SIGTERM'], [1]],
    ['after that SIGTERM insists', ['SIGHUP', 'SIGTERM', 'SIGTERM'], [1, 2]],
  ])('%s', (_, signals, expected) => {
    const counts: number[] = [];
    stopListening = onStopRequests(count => counts.push(count));
    for (const signal of signals) process.emit(signal, signal);
    expect(counts).toEqual(expected);
  });
});
