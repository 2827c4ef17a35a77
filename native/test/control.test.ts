// Jobs of real processes over the control channel: who joins, what is exchanged, and how all end when one fails.
import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { control } from '../lib/index.js';
import { allJoined, codes, endOf, killAll, type Outcome, printed, Rank, start } from './control-support.js';

afterAll(killAll);

describe('joining', () => {
  test.for([1, 2, 4])('exchange in the order of ranks, world size %i', async worldSize => {
    const job = await start({ scenario: 'exchange', worldSize });
    expect(await codes(job)).toEqual(Array(worldSize).fill(0));
    for (const size of [0, 1, 10_000_000]) {
      const expected = Array.from({ length: worldSize }, (_, rank) => size * (rank + 1));
      const found = job.map(rank =>
        rank.lines.find(line => 'sizes' in line && JSON.stringify(line.sizes) === JSON.stringify(expected)),
      );
      expect(found[0]).toBeDefined();
      expect(found.every(line => JSON.stringify(line) === JSON.stringify(found[0]))).toBe(true);
    }
    expect(printed(job)).toBe('');
  });

  test('ranks may come before rank 0 and long after it, by a name after one that is none', async () => {
    const settings = { scenario: 'exchange', worldSize: 3, address: 'no..name,localhost' };
    const probe = new Rank({ scenario: 'idle', worldSize: 1 }, 0, 0);
    const port = (await probe.said('port')) as number; // free again when the probe is gone
    probe.child.kill('SIGKILL');
    await probe.ended;
    const early = new Rank(settings, 2, port);
    await setTimeout(1000);
    const first = new Rank(settings, 0, port);
    await first.said('port');
    await setTimeout(1000);
    const late = new Rank(settings, 1, port);
    expect(await codes([first, late, early])).toEqual([0, 0, 0]);
  });

  test('refused: another world size, a rank that is there already; strangers do not matter', async () => {
    const settings = { scenario: 'exchange', worldSize: 3 };
    const first = new Rank(settings, 0, 0);
    const port = (await first.said('port')) as number;
    const silent = connect(port, '127.0.0.1');
    const talkative = connect(port, '127.0.0.1');
    talkative.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    talkative.on('error', () => {}); // rank 0 hangs up
    await new Promise(resolve => talkative.once('close', resolve));

    const other = new Rank({ ...settings, worldSize: 4 }, 3, port);
    expect(await other.said('error')).toMatch(
      /^controlJoin: rank 0 on host0 refused rank 3 on host3 \(process \d+\): it was started with world size 4, rank 0 with 3$/,
    );
    // Of two processes with the same rank one is refused, whichever comes second.
    const twins = [new Rank(settings, 1, port), new Rank(settings, 1, port)];
    const refused = await Promise.race(twins.map(twin => twin.ended.then(() => twin)));
    expect(await refused.said('error')).toMatch(
      /refused rank 1 on host1 .* another process has this rank already/,
    );

    const job = [first, twins.find(twin => twin !== refused)!, new Rank(settings, 2, port)];
    expect(await codes(job)).toEqual([0, 0, 0]);
    silent.destroy();
  });

  test('the error names the ranks that did not come, to those that did', async () => {
    const settings = { scenario: 'exchange', worldSize: 4, timeoutMs: 3000 };
    const first = new Rank(settings, 0, 0);
    const port = (await first.said('port')) as number;
    const job = [first, new Rank(settings, 2, port), new Rank({ ...settings, worldSize: 2 }, 1, port)];
    expect(await codes(job)).toEqual([3, 3, 3]);
    const message =
      /^controlJoin: ranks 1, 3 of 4 did not reach rank 0 on host0, port \d+, within 3 s; rank 1 on host1 \(process \d+\) was refused: it was started with world size 2/;
    expect(await first.said('error')).toMatch(message);
    expect(await job[1]!.said('error')).toMatch(message);
  });

  test('the error says that rank 0 cannot be reached', async () => {
    const alone = new Rank({ scenario: 'idle', worldSize: 2, timeoutMs: 500 }, 1, 9);
    expect(await alone.said('error')).toMatch(
      /rank 1 on host1 could not reach rank 0 at 127\.0\.0\.1, port 9, within 0\.5 s \(Connection refused\)/,
    );
  });

  test('leaving is orderly though ranks come to it at different times, and joining again works', async () => {
    const job = await start({ scenario: 'twice', worldSize: 3 });
    const port = await job[0]!.said('port', 2);
    for (const rank of job.slice(1)) rank.child.stdin.write(`${port}\n`);
    expect(await codes(job)).toEqual([0, 0, 0]);
    for (const rank of job) expect(await rank.said('texts')).toEqual(['rank 0', 'rank 1', 'rank 2']);
    expect(printed(job)).toBe('');
  });

  test('without a channel there is nothing to exchange, fail, watch or leave', () => {
    const error = expect.objectContaining({ code: 'ERR_COMMUNICATION' });
    expect(() => control.exchange(new Uint8Array(1))).toThrow(error);
    expect(() => control.fail('reason')).toThrow(error);
    expect(() => control.watch(true)).toThrow(error);
    expect(() => control.leave()).toThrow(error);
    control.tick();
  });

  test('arguments are checked', () => {
    const good = { rank: 1, worldSize: 2, host: 'a', address: 'b', port: 1, timeoutMs: 1 };
    expect(() => control.join({ ...good, rank: 2 })).toThrow('"rank" must be in [0, 2), got 2');
    expect(() => control.join({ ...good, worldSize: 0 })).toThrow('"worldSize"');
    expect(() => control.join({ ...good, port: 70_000 })).toThrow('"port"');
    expect(() => control.join({ ...good, timeoutMs: Number.NaN })).toThrow('"timeoutMs"');
    expect(() => control.listen(-1)).toThrow('"port"');
    expect(() => control.fail('reason', 0)).toThrow('"exitCode"');
    expect(() => control.join({ ...good, rank: 0 })).toThrow('rank 0 must listen');
  });
});

describe('failing', () => {
  test.for([0, 1, 2])(
    'a report of rank %i is printed once and ends all ranks with its exit code',
    async failing => {
      const job = await start({ scenario: 'fail', worldSize: 3, failing, exitCode: 42 });
      expect(await codes(job)).toEqual([42, 42, 42]);
      expect(printed(job)).toBe(
        `sralign: rank ${failing} on host${failing}: the disk is full\n(second line)\n`,
      );
      expect(job[0]!.stderr).toBe(printed(job));
    },
  );

  test('of several reports the first is printed', async () => {
    const job = await start({ scenario: 'failTogether', worldSize: 4 });
    expect(await codes(job)).toEqual([7, 7, 7, 7]);
    expect(printed(job)).toMatch(/^sralign: rank \d on host\d: not a number\n$/);
  });

  test('a killed rank ends the others', async () => {
    const job = await start({ scenario: 'idle', worldSize: 3 });
    await allJoined(job);
    const end = await endOf(job, 2, 'SIGKILL');
    expect(end.codes).toEqual([1, 1, null]);
    expect(end.seconds).toBeLessThan(15);
    expect(printed(job)).toBe('sralign: rank 2 on host2 ended without a word (killed, or out of memory)\n');
  });

  test('the killed rank 0 ends the others, and rank 1 tells', async () => {
    const job = await start({ scenario: 'idle', worldSize: 3 });
    await allJoined(job);
    const end = await endOf(job, 0, 'SIGKILL');
    expect(end.codes).toEqual([null, 1, 1]);
    expect(end.seconds).toBeLessThan(15);
    expect(printed(job)).toBe('sralign: rank 0 on host0 ended without a word (killed, or out of memory)\n');
  });

  test('a process that exits without leaving ends the others', async () => {
    const job = await start({ scenario: 'vanish', worldSize: 2, failing: 1 });
    expect(await codes(job)).toEqual([1, 9]);
    expect(printed(job)).toBe('sralign: rank 1 on host1 ended without a word (killed, or out of memory)\n');
  });

  test('a rank that leaves while others wait for it is told', async () => {
    const job = await start({ scenario: 'leaveAndExchange', worldSize: 2, failing: 1 });
    expect(await codes(job)).toEqual([1, 1]);
    expect(printed(job)).toMatch(
      /^sralign: rank 1 on host1: left the job while rank 0 on host0 waits for it/,
    );
  });
});

// Each takes as long as the limit it is about (10 to 25 s), so the jobs run beside each other.
describe('the limits of silence and of no progress', { timeout: 120_000 }, () => {
  let stopped: Outcome, stoppedZero: Outcome, stuck: Outcome, slow: Outcome, late: Outcome, longCall: Outcome;

  beforeAll(async () => {
    [stopped, stoppedZero, stuck, slow, late, longCall] = await Promise.all([
      stop(1),
      stop(0),
      start({ scenario: 'stuck', worldSize: 3, failing: 2 }).then(async job => {
        await allJoined(job);
        return await endOf(job);
      }),
      start({ scenario: 'slow', worldSize: 2 }).then(async job => await endOf(job)),
      arriveLate(),
      callForLong(),
    ]);
  }, 120_000);

  test('a stopped rank ends the others, and itself when it goes on', () => {
    expect(stopped.codes).toEqual([1, 1, 1]);
    expect(stopped.seconds).toBeLessThan(15);
    expect(stopped.printed).toBe(
      'sralign: rank 1 on host1 has not been heard from for 10 s (its host is down, the network is cut, or the process is stopped)\n',
    );
  });

  test('the stopped rank 0 ends the others, and itself when it goes on', () => {
    expect(stoppedZero.codes).toEqual([1, 1, 1]);
    expect(stoppedZero.seconds).toBeLessThan(15);
    expect(stoppedZero.printed).toBe(
      'sralign: rank 0 on host0 has not been heard from for 12 s (its host is down, the network is cut, or the process is stopped)\n',
    );
  });

  test('a watched rank that makes no progress ends all', () => {
    expect(stuck.codes).toEqual([1, 1, 1]);
    expect(stuck.seconds).toBeGreaterThan(15);
    expect(stuck.seconds).toBeLessThan(25);
    expect(stuck.printed).toBe('sralign: rank 2 on host2 has made no progress for 20 s\n');
  });

  test('waiting for a slow rank is not being stuck', () => {
    expect(slow).toMatchObject({ codes: [0, 0], printed: '' });
    expect(slow.seconds).toBeGreaterThan(21);
  });

  test('a rank may come long after another one', () => {
    expect(late).toMatchObject({ codes: [0, 0, 0], printed: '' });
  });

  test('a long operation is not being stuck', () => {
    expect(longCall).toMatchObject({ codes: [null, null], printed: '' });
  });
});

async function stop(victim: number): Promise<Outcome> {
  const job = await start({ scenario: 'idle', worldSize: 3 });
  await allJoined(job);
  return await endOf(job, victim, 'SIGSTOP');
}

async function arriveLate(): Promise<Outcome> {
  const settings = { scenario: 'exchange', worldSize: 3 };
  const first = new Rank(settings, 0, 0);
  const port = (await first.said('port')) as number;
  const early = new Rank(settings, 1, port);
  await setTimeout(12_000);
  return await endOf([first, early, new Rank(settings, 2, port)]);
}

async function callForLong(): Promise<Outcome> {
  const job = await start({ scenario: 'longCall', worldSize: 2, failing: 1 });
  await job[1]!.said('computes');
  await Promise.race([setTimeout(24_000), ...job.map(rank => rank.ended)]);
  for (const rank of job.toReversed()) rank.child.kill('SIGKILL');
  await Promise.all(job.map(rank => rank.ended));
  return await endOf(job);
}
