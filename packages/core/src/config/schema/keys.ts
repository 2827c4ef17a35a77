/** What the sections of the schema are written with. */
import { z } from 'zod';
import { expandHome } from '../env.js';

/** A setting: its meaning, and its names in TRL or the original DPO repository. */
export const key = <T extends z.ZodType>(schema: T, description: string, ...trl: string[]): T =>
  schema.meta(trl.length === 0 ? { description } : { description, trl });

export const count = () => z.int().min(1);
export const text = () => z.string().min(1);
/** A path: `~` is the home folder. */
export const path = () => text().transform(expandHome);
