// The gate gives the same answer for the same sources: property tests draw the same cases every time. To look for
// new ones, change the seed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DeviceName, useDevice } from '@sralign/native';
import fc from 'fast-check';
import { afterAll } from 'vitest';

fc.configureGlobal({ seed: 20_261_123 });

// The projects of vitest.config.ts run the same cases on several devices.
useDevice((process.env.SRALIGN_TEST_DEVICE ?? 'cpu') as DeviceName);

// What a test file and the programs it starts leave behind goes with its folder. Of a file whose tests are all skipped
// nothing here runs at the end; its folder goes with that of the run (vitest.global.ts).
const folder = mkdtempSync(join(tmpdir(), 'file-'));
process.env.TMPDIR = folder;
// Open MPI's memory that ranks of one machine share, which killed ranks would leave in /dev/shm.
process.env.OMPI_MCA_btl_vader_backing_directory = folder;
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
