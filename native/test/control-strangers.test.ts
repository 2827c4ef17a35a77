// What reaches the control channel from outside and from ranks that misbehave: bytes over a plain socket.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { codes, killAll, printed, Rank } from './control-support.js';

// connection.h
const Type = { hello: 0, exchange: 1, report: 2, gaveUp: 3, welcome: 5, refused: 6, gathered: 7, abort: 8 };
const HEADER_BYTES = 32;

const sockets: Socket[] = [];

afterAll(() => {
  for (const socket of sockets) socket.destroy();
  killAll();
});

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => {}); // rank 0 may end, or hang up
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

function frame(
  type: number,
  value: number,
  payload: Buffer,
  announcedBytes = BigInt(payload.length),
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(0x4c415253, 0);
  header.writeUInt32LE(type, 4);
  header.writeBigUInt64LE(BigInt(value), 8);
  header.writeBigUInt64LE(announcedBytes, 16);
  return Buffer.concat([header, payload]);
}

function hello(rank: number, worldSize: number, token: string, host = `raw${rank}`): Buffer {
  const numbers = Buffer.alloc(16);
  for (const [i, value] of [rank, worldSize, 99, token.length].entries()) numbers.writeInt32LE(value, 4 * i);
  return frame(Type.hello, 2, Buffer.concat([numbers, Buffer.from(`${token}${host}`)]));
}

/** Types of the frames that come until the other side closes, and how many bytes they are. */
async function readAll(socket: Socket): Promise<{ types: number[]; bytes: number }> {
  let rest = Buffer.alloc(0);
  const types: number[] = [];
  let bytes = 0;
  for await (const data of socket) {
    bytes += data.length;
    rest = Buffer.concat([rest, data]);
    while (rest.length >= HEADER_BYTES) {
      const whole = HEADER_BYTES + Number(rest.readBigUInt64LE(16));
      if (rest.length < whole) break;
      types.push(rest.readUInt32LE(4));
      rest = rest.subarray(whole);
    }
  }
  return { types, bytes };
}

/** Rank 0 in a process, the others as sockets of this one. */
async function startRaw(scenario: string, worldSize: number): Promise<{ first: Rank; others: Socket[] }> {
  const first = new Rank({ scenario, worldSize, token: 'secret' }, 0, 0);
  const port = (await first.said('port')) as number;
  const others: Socket[] = [];
  for (let rank = 1; rank < worldSize; rank++) {
    const socket = await open(port);
    socket.write(hello(rank, worldSize, 'secret'));
    others.push(socket);
  }
  await first.said('joined');
  return { first, others };
}

describe('strangers', () => {
  test('who does not know the token takes no place', async () => {
    const settings = { scenario: 'exchange', worldSize: 2, token: 'secret' };
    const first = new Rank(settings, 0, 0);
    const port = (await first.said('port')) as number;
    const stranger = await open(port);
    stranger.write(hello(1, 2, ''));
    expect((await readAll(stranger)).types).toEqual([Type.refused]);
    const other = new Rank({ ...settings, token: 'secreT' }, 1, port);
    expect(await other.said('error')).toMatch(
      /rank 0 on host0 refused rank 1 on host1 \(process \d+\): it belongs to another job$/,
    );
    expect(await codes([first, new Rank(settings, 1, port)])).toEqual([0, 0]);
  });

  test('where all ranks are on this host, nobody reaches rank 0 from elsewhere', async () => {
    const outer = Object.values(networkInterfaces())
      .flatMap(interfaces => interfaces ?? [])
      .find(({ internal, family }) => !internal && family === 'IPv4')?.address;
    const reaches = async (port: number, address: string): Promise<boolean> => {
      const socket = connect(port, address);
      sockets.push(socket);
      return once(socket, 'connect').then(
        () => true,
        () => false,
      );
    };
    for (const onHost of [true, false]) {
      const settings = { scenario: 'exchange', worldSize: 2, onHost };
      const first = new Rank(settings, 0, 0);
      const port = (await first.said('port')) as number;
      if (outer !== undefined) expect(await reaches(port, outer)).toBe(!onHost);
      expect(await reaches(port, '127.0.0.1')).toBe(true);
      expect(await codes([first, new Rank(settings, 1, port)])).toEqual([0, 0]);
    }
  });

  test('a terminal does not obey what they call themselves', async () => {
    const settings = { scenario: 'exchange', worldSize: 3, timeoutMs: 1500 };
    const first = new Rank(settings, 0, 0);
    const port = (await first.said('port')) as number;
    const stranger = await open(port);
    stranger.write(hello(7, 3, '', '\u001b[2J\u009b31m\u202eh\u00fcr\r\nsralign: all is well\u0000'));
    await readAll(stranger);
    expect(await first.said('error')).toContain(
      String.raw`rank 7 on \x1b[2J\xc2\x9b31m\xe2\x80\xaeh\xc3\xbcr\x0d\x0asralign: all is well\x00 (process 99) was refused`,
    );
  });

  test('nor what they answer on the port of rank 0', async () => {
    const server = createServer(socket => {
      socket.on('error', () => {});
      socket.end(frame(Type.refused, 0, Buffer.from('no\u001b]0;title\u0007\n\tg\u00fcte \u{1f600}\u0085')));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const settings = { scenario: 'exchange', worldSize: 2, timeoutMs: 2000 };
    const rank = new Rank(settings, 1, (server.address() as AddressInfo).port);
    expect(await rank.said('error')).toBe(
      'controlJoin: no\\x1b]0;title\\x07\n\tg\u00fcte \u{1f600}\\xc2\\x85',
    );
    server.close();
  });

  test.for([1024, 64])('many silent connections keep nobody out, with %s open files', async openFiles => {
    const settings = { scenario: 'exchange', worldSize: 3 };
    const first = new Rank({ ...settings, openFiles }, 0, 0);
    const port = (await first.said('port')) as number;
    let closed = 0;
    for (let i = 0; i < 150; i++) (await open(port)).on('close', () => closed++).resume();
    const job = [first, new Rank(settings, 1, port), new Rank(settings, 2, port)];
    await job[1]!.said('joined');
    expect(closed).toBeGreaterThan(70);
    expect(await codes(job)).toEqual([0, 0, 0]);
    expect(printed(job)).toBe('');
  });

  test('silent connections are closed after 10 s', async () => {
    const first = new Rank({ scenario: 'exchange', worldSize: 2 }, 0, 0);
    const silent = await open((await first.said('port')) as number);
    const from = performance.now();
    expect(await readAll(silent)).toEqual({ types: [], bytes: 0 });
    expect(performance.now() - from).toBeGreaterThan(9000);
  });
});

describe('ranks that misbehave', () => {
  test('a message of impossible size ends the job with its sender', async () => {
    const { first, others } = await startRaw('idle', 2);
    others[0]!.write(frame(Type.exchange, 1, Buffer.alloc(0), 1n << 60n));
    expect(await codes([first])).toEqual([1]);
    expect(first.stderr).toBe(
      'sralign: rank 1 on raw1 sent a message of 1152921504606846976 bytes, more than the 17179869184 that are allowed\n',
    );
  });

  test('a terminal does not obey what a rank reports', async () => {
    const { first, others } = await startRaw('idle', 2);
    others[0]!.write(frame(Type.report, 9, Buffer.from('lost \u001b[31m\n  at line\t1 \u00fc')));
    expect(await codes([first])).toEqual([9]);
    expect(first.stderr).toBe('sralign: rank 1 on raw1: lost \\x1b[31m\n  at line\t1 \u00fc\n');
  });

  test('where a rank has given up the living rank 0, it says so and ends all', async () => {
    const { first, others } = await startRaw('idle', 3);
    others[1]!.end(frame(Type.gaveUp, 1, Buffer.from('rank 0 on host0 has not been heard from')));
    const { types } = await readAll(others[0]!);
    expect(types.at(-1)).toBe(Type.abort);
    expect(await codes([first])).toEqual([1]);
    expect(first.stderr).toBe('sralign: rank 2 on raw2: rank 0 on host0 has not been heard from\n');
  });

  test('where rank 1 has given up rank 0, it has said so', async () => {
    const { first, others } = await startRaw('idle', 3);
    others[1]!.end(frame(Type.gaveUp, 1, Buffer.from('said by rank 1')));
    others[0]!.end(frame(Type.gaveUp, 1, Buffer.from('said by rank 1')));
    expect(await codes([first])).toEqual([1]);
    expect(first.stderr).toBe('');
  });

  test('the end overtakes a long message', async () => {
    const { first, others } = await startRaw('long', 3);
    const [failing, slow] = [others[0]!, others[1]!];
    for (const socket of others) socket.write(frame(Type.exchange, 1, Buffer.alloc(0)));
    await once(slow, 'readable'); // and it reads no more for now
    await setTimeout(1500); // so that what the system takes is full
    failing.write(frame(Type.report, 9, Buffer.from('the disk is full')));
    const { types, bytes } = await readAll(slow);
    expect(types.at(-1)).toBe(Type.abort);
    expect(bytes).toBeLessThan(100_000_000);
    expect(await codes([first])).toEqual([9]);
    expect(first.stderr).toBe('sralign: rank 1 on raw1: the disk is full\n');
  });
});
