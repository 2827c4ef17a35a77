/** What doctor says where the engine does not load. */
import { expect, it, vi } from 'vitest';
import { inspectMachine } from '../src/report/machine.js';

vi.mock('@sralign/native', () => ({
  cpuInfo: () => {
    throw new Error('libdnnl.so.2: cannot open shared object file');
  },
}));

it('names the reason and the command that fixes it', async () => {
  const machine = await inspectMachine('1.2.3');
  expect(machine.versions.sralign).toBe('1.2.3');
  expect(machine.engine).toEqual({ loaded: false, reason: 'libdnnl.so.2: cannot open shared object file' });
  expect(machine.findings).toContainEqual({
    level: 'problem',
    text: expect.stringContaining('libdnnl.so.2'),
    fix: 'npm run setup',
  });
});
