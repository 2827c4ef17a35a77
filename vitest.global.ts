// The folder of a run of the tests: what they leave in the folder for temporary files is gone when the run ends.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let folder: string | undefined;

/** Every project calls it, in one process: their folders lie in each other. */
export function setup(): void {
  folder = mkdtempSync(join(tmpdir(), 'sralign-test-'));
  process.env.TMPDIR = folder;
}

export function teardown(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}
