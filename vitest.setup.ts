// The gate gives the same answer for the same sources: property tests draw the same cases every time. To look for new
// ones, set another seed.
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env.FAST_CHECK_SEED ?? 20_261_123) });
