/** What Node cannot ask of a file: a lock that dies with its process, and space before there is anything to write. */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { native } from './load.js';

const { EAGAIN, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP } = constants.errno;

/**
 * Takes the exclusive lock of an open file (flock). It is held until the file is closed or its process ends, however it
 * ends; other openings of the file, of this process or another, do not get it meanwhile.
 *
 * @param descriptor of the open file
 * @returns `busy`: another has it; `unsupported`: the file system keeps no locks
 * @throws Error with the `code` of the system
 */
export function lockFile(descriptor: number): 'held' | 'busy' | 'unsupported' {
  const error = native().fileLock(checked('lockFile', 'descriptor', descriptor));
  if (error === 0) return 'held';
  if (error === EAGAIN) return 'busy';
  if ([ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP].includes(error)) return 'unsupported';
  throw systemError(error, 'flock');
}

/**
 * Reserves the first bytes of an open file on the disk; the file is then at least that long.
 *
 * @param descriptor of a file that is open for writing
 * @returns false where the file system cannot reserve
 * @throws Error with the `code` of the system, ENOSPC where there is no room
 */
export function reserveBytes(descriptor: number, bytes: number): boolean {
  checked('reserveBytes', 'descriptor', descriptor);
  if (checked('reserveBytes', 'bytes', bytes) === 0) return true;
  const error = native().fileReserve(descriptor, bytes);
  if ([ENOSYS, ENOTSUP, EOPNOTSUPP].includes(error)) return false;
  if (error !== 0) throw systemError(error, 'fallocate');
  return true;
}

function checked(operation: string, name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`${operation}: "${name}" must be an integer of at least 0, got ${String(value)}`);
}

function systemError(error: number, syscall: string): NodeJS.ErrnoException {
  const code = getSystemErrorName(-error);
  return Object.assign(new Error(`${code}: ${syscall}`), { code, syscall, errno: -error });
}
