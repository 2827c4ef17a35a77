/** The tests of the engine and of the control channel on an addon built with the compiler's sanitizers. */
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildAddon, buildMutant, libraryOf, type Mutation, runNode, type Sanitizer } from './addon.js';

const BUILD_MS = 1_800_000;
const FINDING =
  /(ERROR|WARNING): \w+Sanitizer: (?!failed to allocate|requested allocation size)|runtime error:/;
/** A shell that limits a process does not run under a sanitizer, nor does a sanitizer with so few files. */
const NOT_LIMITED = '^(?!.*open files)';
const TESTS_OF = {
  engine: [
    ...[
      'activation',
      'attention',
      'elementwise',
      'embedding',
      'indices',
      'linear',
      'logprob',
      'norm',
      'optimizer',
    ],
    ...['preference', 'rotary', 'sequence-sum', 'tensor', 'handles', 'lifetime'],
  ],
  'control channel': ['control', 'control-strangers'],
};
const files = (names: readonly string[]): string[] => names.map(name => `native/test/${name}.test.ts`);

const vitest = 'node_modules/.bin/vitest';
const program = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
const job = JSON.stringify({
  ...{ scenario: 'exchange', rank: 0, worldSize: 1, host: 'host', address: '127.0.0.1', port: 0 },
  ...{ timeoutMs: 60_000, token: '' },
});

const FAULTS: Record<string, Mutation & { sanitizer: Sanitizer; finding: RegExp; run: string[] }> = {
  'an array read past its end': {
    sanitizer: 'address',
    unit: 'cpu/kernels/embedding.cc',
    line: 'for (int64_t h = 0; h < width; ++h) target[h] = toF32(row[h]);',
    becomes: 'for (int64_t h = 0; h <= width; ++h) target[h] = toF32(row[h]);',
    finding: /AddressSanitizer: heap-buffer-overflow/,
    run: [program('every-kernel.mjs')],
  },
  'an overflow': {
    sanitizer: 'address',
    unit: 'cpu/kernels/embedding.cc',
    line: 'if (tokens[t] % threads != mine) continue;',
    becomes: 'if ((tokens[t] + 2147483647) % threads == mine - threads) continue;',
    finding: /runtime error: signed integer overflow/,
    run: [program('every-kernel.mjs')],
  },
  'threads that write the same row': {
    sanitizer: 'thread',
    unit: 'cpu/kernels/embedding.cc',
    line: 'mine = omp_get_thread_num();',
    becomes: 'mine = 0;',
    finding: /ThreadSanitizer: data race/,
    run: [program('every-kernel.mjs')],
  },
  'a list of the control channel without its lock': {
    sanitizer: 'thread',
    unit: 'comm/member.cc',
    line: 'const std::lock_guard lock(mutex_);\n    taken.swap(outgoing_);',
    becomes: 'taken.swap(outgoing_);',
    finding: /ThreadSanitizer: data race/,
    run: [program('control-rank.mjs'), job],
  },
};

describe.each<Sanitizer>(['address', 'thread'])('with the %s sanitizer', sanitizer => {
  describe.skipIf(libraryOf(sanitizer) === undefined)('of the compiler', () => {
    let addon: string;
    beforeAll(async () => {
      addon = await buildAddon(sanitizer);
    }, BUILD_MS);

    test.each(Object.entries(TESTS_OF))('the tests of the %s pass', async (_, names) => {
      const limits = ['--maxWorkers=1', '--testTimeout=300000', '--testNamePattern', NOT_LIMITED];
      const args = ['run', '--project', 'cpu', ...limits, ...files(names)];
      const { status, output } = await runNode(sanitizer, addon, vitest, ...args);
      expect(output).not.toMatch(FINDING);
      expect(status, output).toBe(0);
    });

    const own = Object.entries(FAULTS).filter(([, fault]) => fault.sanitizer === sanitizer);
    test.each(own)('%s is found', async (name, { finding, run, ...mutation }) => {
      expect((await runNode(sanitizer, addon, ...run)).status).toBe(0);
      const mutant = await buildMutant(sanitizer, name.replaceAll(' ', '-'), mutation);
      const { status, output } = await runNode(sanitizer, mutant, ...run);
      expect(output).toMatch(finding);
      expect(status).not.toBe(0);
    });
  });
});
