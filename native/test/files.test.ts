import { spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { lockFile, reserveBytes } from '../lib/files.js';

const folder = mkdtempSync(join(tmpdir(), 'sralign-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const addon = fileURLToPath(new URL('../build/Release/sralign_native.node', import.meta.url));

it('gives the lock of a file to one opening at a time, and again when that is closed', () => {
  const file = join(folder, 'lock');
  const [first, second] = [openSync(file, 'a'), openSync(file, 'a')];
  expect(lockFile(first)).toBe('held');
  expect(lockFile(first)).toBe('held');
  expect(lockFile(second)).toBe('busy');
  closeSync(first);
  expect(lockFile(second)).toBe('held');
  closeSync(second);
});

it('frees the lock of a process that is killed, at once', async () => {
  const file = join(folder, 'killed');
  const program = `
    const { openSync } = require('node:fs');
    const { fileLock } = require(${JSON.stringify(addon)});
    console.log(fileLock(openSync(${JSON.stringify(file)}, 'a')));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise(resolve => child.on('exit', resolve));
  const said = await new Promise(resolve => child.stdout.once('data', data => resolve(String(data).trim())));
  expect(said).toBe('0');
  const descriptor = openSync(file, 'a');
  expect(lockFile(descriptor)).toBe('busy');
  child.kill('SIGKILL');
  await ended;
  expect(lockFile(descriptor)).toBe('held');
  closeSync(descriptor);
});

it('does not hand the lock on to programs that are started', () => {
  const file = join(folder, 'inherited');
  const descriptor = openSync(file, 'a');
  expect(lockFile(descriptor)).toBe('held');
  const child = spawn('sleep', ['30']);
  closeSync(descriptor);
  const again = openSync(file, 'a');
  expect(lockFile(again)).toBe('held');
  closeSync(again);
  child.kill();
});

it('reserves bytes, or says that the file system cannot', () => {
  const descriptor = openSync(join(folder, 'reserved'), 'w');
  const bytes = 3_000_001;
  if (reserveBytes(descriptor, bytes)) {
    expect(fstatSync(descriptor).size).toBe(bytes);
    expect(fstatSync(descriptor).blocks * 512).toBeGreaterThanOrEqual(bytes);
  } else {
    expect(fstatSync(descriptor).size).toBe(0);
  }
  expect(reserveBytes(descriptor, 0)).toBe(true);
  closeSync(descriptor);
});

it('refuses what is no descriptor', () => {
  expect(() => lockFile(-1)).toThrow(/lockFile: "descriptor" must be an integer of at least 0, got -1/);
  expect(() => reserveBytes(1, 0.5)).toThrow(/reserveBytes: "bytes"/);
  const readOnly = openSync(addon, 'r');
  expect(() => reserveBytes(readOnly, 1)).toThrow(
    expect.objectContaining({ code: 'EBADF', syscall: 'fallocate' }),
  );
  closeSync(readOnly);
  expect(() => lockFile(1_000_000)).toThrow(expect.objectContaining({ code: 'EBADF', syscall: 'flock' }));
});
