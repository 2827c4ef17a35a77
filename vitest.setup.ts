// The gate gives the same answer for the same sources: property tests draw the same cases every time. To look for
// new ones, change the seed.
import { type DeviceName, useDevice } from '@sralign/native';
import fc from 'fast-check';

fc.configureGlobal({ seed: 20_261_123 });

// The projects of vitest.config.ts run the same cases on several devices.
useDevice((process.env.SRALIGN_TEST_DEVICE ?? 'cpu') as DeviceName);
