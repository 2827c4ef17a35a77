import { defineConfig } from 'vitest/config';

// Tests run the TypeScript sources of every package (the `@sralign/source` export condition);
// only the native addon has to be built first.
const conditions = ['@sralign/source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['native/test/**/*.test.ts', 'packages/*/test/**/*.test.ts'],
    pool: 'forks',
    setupFiles: ['vitest.setup.ts'],
    testTimeout: 60_000,
    // Test files run beside each other, so each keeps to one thread unless it asks for more.
    env: { OMP_NUM_THREADS: '1' },
  },
});
