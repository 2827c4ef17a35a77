/** The stand-in's own tests: that it runs right kernels right, and tells wrong ones. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('the stand-in for CUDA on the processor', () => {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const { status, stdout, stderr } = spawnSync('make', ['-C', folder, '-j2', 'selftest'], {
    encoding: 'utf8',
  });
  expect(stdout).toMatch(/^[1-9]\d* passed, 0 failed$/m);
  expect(status, stdout + stderr).toBe(0);
});
