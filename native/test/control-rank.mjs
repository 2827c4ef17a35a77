// One rank of the jobs that control.test.ts starts: node control-rank.mjs SETTINGS, where SETTINGS is JSON. It prints
// JSON lines: {port} at rank 0, {joined: true}, and what the scenario finds; an error ends it with exit code 3.
import { createHash } from 'node:crypto';
import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';

const native = createRequire(import.meta.url)('../build/Release/sralign_native.node');
const settings = JSON.parse(process.argv[2]);
const { scenario, rank, worldSize, host, address, port, timeoutMs, token, failing, exitCode } = settings;
const say = value => writeSync(1, `${JSON.stringify(value)}\n`);
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const bytes = text => new TextEncoder().encode(text);
const texts = gathered => gathered.map(part => new TextDecoder().decode(part));

function join(chosen = port) {
  native.controlJoin(rank, worldSize, host, address, chosen, timeoutMs, token);
  say({ joined: true });
}

const scenarios = {
  /** Messages of no, few and ten million bytes. */
  async exchange() {
    for (const size of [0, 1, 10_000_000]) {
      const parts = native.controlExchange(new Uint8Array(size * (rank + 1)).fill(size + rank));
      const digests = parts.map(part => createHash('sha256').update(part).digest('hex').slice(0, 16));
      say({ sizes: parts.map(part => part.length), digests });
    }
    for (let round = 0; round < 50; round++) {
      const found = texts(native.controlExchange(bytes(`${round}:${rank}`)));
      const expected = Array.from({ length: worldSize }, (_, other) => `${round}:${other}`);
      if (found.join() !== expected.join()) throw new Error(`round ${round}: ${found}`);
    }
    native.controlLeave();
  },

  /** Leaves at different times, and joins once more at a port of the second life. */
  async twice() {
    await pause(rank * 300);
    native.controlLeave();
    say({ left: true });
    // Rank 0 alone knows the port; the test tells it to the others on stdin.
    const again = rank === 0 ? native.controlListen(0, false) : await lineOfStdin();
    if (rank === 0) say({ port: again });
    join(Number(again));
    say({ texts: texts(native.controlExchange(bytes(`rank ${rank}`))) });
    native.controlLeave();
  },

  /** What the others may be slow to read. */
  async long() {
    native.controlExchange(new Uint8Array(200_000_000));
    await pause(600_000);
  },

  async leaveAndExchange() {
    if (rank === failing) native.controlLeave();
    native.controlExchange(bytes(''));
  },

  async fail() {
    if (rank === failing) native.controlFail('the disk is full\n(second line)', exitCode);
    native.controlExchange(bytes(''));
  },

  /** All fail for the same reason at about the same time. */
  async failTogether() {
    native.controlExchange(bytes(''));
    native.controlFail('not a number', exitCode);
  },

  async idle() {
    await pause(600_000);
  },

  /** One rank computes without end in JavaScript; the others wait for it. */
  async stuck() {
    native.controlWatch(true);
    if (rank === failing) for (;;);
    native.controlExchange(bytes(''));
  },

  /** One rank computes for minutes in a single call of the engine. */
  async longCall() {
    native.setThreads(1);
    const tensor = native.create(0, 1, 4_000_000);
    const norm = native.create(0, 1, 1);
    native.controlWatch(true);
    if (rank === failing) {
      say({ computes: true });
      native.l2Norm(new Float64Array(1_000_000).fill(tensor), norm);
      say({ computed: true });
    }
    native.controlExchange(bytes(''));
  },

  /** One rank is slow but makes progress; the others wait for longer than a stuck rank may. */
  async slow() {
    native.controlWatch(true);
    if (rank === 0) {
      for (let second = 0; second < 46; second++) {
        await pause(500);
        native.controlTick();
      }
    }
    native.controlExchange(bytes(''));
    native.controlLeave();
    say({ done: true });
  },

  /** Ends without leaving, as after an exception nobody catches. */
  async vanish() {
    if (rank === failing) process.exit(9);
    await pause(600_000);
  },
};

function lineOfStdin() {
  return new Promise(resolve => process.stdin.once('data', data => resolve(String(data).trim())));
}

try {
  if (rank === 0) {
    const chosen = native.controlListen(port, settings.onHost ?? false);
    say({ port: chosen });
  }
  join();
  await scenarios[scenario]();
  process.exit(0);
} catch (error) {
  say({ error: error.message });
  process.exit(3);
}
