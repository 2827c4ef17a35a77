import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// Tests run the TypeScript sources of every package (the `@sralign/source` export condition);
// only the native addon has to be built first.
const conditions = ['@sralign/source', 'node', 'import', 'module', 'default'];

/** What a GPU must do as the CPU does: the same cases run on both. */
const everyDevice = [
  'native/test/{activation,attention,elementwise,embedding,indices,linear,logprob,norm}.test.ts',
  'native/test/{optimizer,preference,rotary,sequence-sum}.test.ts',
  'packages/core/test/autograd/*.test.ts',
  'packages/core/test/loss/*.test.ts',
  'packages/core/test/model/prefix-sharing.test.ts',
  'packages/core/test/generate/*.test.ts',
  'packages/core/test/train/preference-trainer.test.ts',
  'packages/core/test/verify/*.test.ts',
];

/** What every table of kernels must do: `npm run test:kernels` runs it with those that `npm test` has not used. */
const everyKernels = [
  ...everyDevice,
  'packages/cli/test/distributed/{equality,resume}.test.ts',
  'packages/core/test/train/run.test.ts',
];

const cudaHostLibrary =
  process.env.SRALIGN_CUDA_LIBRARY ??
  fileURLToPath(new URL('native/build/cuda-host/libsralign_cuda_host.so', import.meta.url));

// A machine without a GPU runs the CUDA kernels on its processor (native/test/cuda-host); `npm run test:gpu` runs the
// project `cuda` where there is one.
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    pool: 'forks',
    globalSetup: ['vitest.global.ts'],
    setupFiles: ['vitest.setup.ts'],
    testTimeout: 60_000,
    // Test files run beside each other, so each keeps to one thread unless it asks for more.
    env: { OMP_NUM_THREADS: '1' },
    maxConcurrency: 2,
    projects: [
      {
        extends: true,
        test: { name: 'cpu', include: ['native/test/*.test.ts', 'packages/*/test/**/*.test.ts'] },
      },
      {
        extends: true,
        test: {
          name: 'cuda-host',
          include: [...everyDevice, 'native/test/cuda-host/*.test.ts'],
          globalSetup: ['native/test/cuda-host/build.ts'],
          env: { SRALIGN_TEST_DEVICE: 'cuda', SRALIGN_CUDA_LIBRARY: cudaHostLibrary },
          testTimeout: 300_000,
        },
      },
      { extends: true, test: { name: 'kernels', include: everyKernels } },
      {
        extends: true,
        test: { name: 'sanitizers', include: ['native/test/sanitizers/*.test.ts'], testTimeout: 1_800_000 },
      },
      {
        extends: true,
        test: { name: 'cuda', include: everyDevice, env: { SRALIGN_TEST_DEVICE: 'cuda' } },
      },
    ],
  },
});
