/** Every kernel with AddressSanitizer and UndefinedBehaviorSanitizer, which see accesses beside an array at once. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'vitest';
import { everyKernel, expectSameResults } from './every-kernel.js';

test('no kernel reads or writes beside what it is given', async () => {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  execFileSync('make', ['-C', folder, '-j2', 'SANITIZE=1', 'library'], { maxBuffer: 1 << 26 });
  const expected = await everyKernel('cuda');
  const sanitizer = execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  for (const seed of [1, 2, 3]) {
    const results = await everyKernel('cuda', {
      SRALIGN_CUDA_LIBRARY: fileURLToPath(
        new URL('../../build/cuda-host-sanitize/libsralign_cuda_host.so', import.meta.url),
      ),
      SRALIGN_CUDA_HOST_SEED: String(seed),
      ASAN_OPTIONS: 'detect_leaks=0', // Node ends without freeing everything
      LD_PRELOAD: sanitizer,
    });
    expectSameResults(results, expected);
  }
});
