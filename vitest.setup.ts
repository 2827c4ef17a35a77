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

// What a test file and the programs it starts leave behind goes with its folder.
const folder = mkdtempSync(join(tmpdir(), 'sralign-test-'));
process.env.TMPDIR = folder;
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
