/**
 * The clock that a chat template sees (`strftime_now`): that of the first start, on all ranks and whenever the run goes on, so
 * that the same rows stay the same tokens on another day.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Communicator } from '@sralign/native';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { systemErrorCode, writeFileAtomic } from '../files.js';

const CLOCK_FILE = 'clock.json';

const schema = z.strictObject({
  /** Local time to the second, without a zone: what the template writes is the same wherever the run goes on. */
  templateNow: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/),
});

/**
 * The clock of the run: the stored one of a run that goes on, else the time of the first rank.
 *
 * @throws CheckpointError when the stored one cannot be read
 */
export async function templateClock(
  folder: string,
  resume: boolean,
  communicator: Communicator,
): Promise<Date> {
  const own =
    communicator.rank === 0 ? ((resume ? await readClock(folder) : null) ?? localTime(new Date())) : '';
  return new Date(communicator.exchange(own)[0]!);
}

/** @throws RunError when the disk refuses */
export const writeClock = (folder: string, now: Date): Promise<void> =>
  writeFileAtomic(join(folder, CLOCK_FILE), `${JSON.stringify({ templateNow: localTime(now) })}\n`);

async function readClock(folder: string): Promise<string | null> {
  const file = join(folder, CLOCK_FILE);
  try {
    const { templateNow } = schema.parse(JSON.parse(await readFile(file, 'utf8')));
    if (localTime(new Date(templateNow)) === templateNow) return templateNow;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
  }
  throw new CheckpointError('The clock of the run is damaged.', {
    file,
    hint: 'Write the day of its start into it: {"templateNow": "2026-01-31T12:00:00"}.',
  });
}

function localTime(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day}T${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')}`;
}
