/** Before anything is computed: whether the steps of a run fit into the memory that there is. */
import type { Communicator, DeviceName } from '@sralign/native';
import type { Config } from '../config/schema.js';
import { ConfigError } from '../errors.js';
import { availableMemory } from '../plan/available-memory.js';
import { fitMemory, type MemoryFit } from '../plan/fit.js';
import { lengthsOf } from '../plan/lengths.js';
import type { TrainEvent } from './events.js';
import type { Sources } from './prepare.js';

/**
 * Compares the planned peak of a step with the memory of this rank's host or GPU; what loading and the reference pass take
 * is less. All ranks call it, before they load a model.
 *
 * @throws ConfigError on all ranks when some rank's does not suffice, unless training.memoryCheck is warn
 */
export async function checkMemory(
  config: Config,
  sources: Sources,
  device: DeviceName,
  communicator: Communicator,
  onEvent: (event: TrainEvent) => void,
): Promise<void> {
  const { rank, worldSize, hosts } = communicator;
  const leaders = communicator.exchange(await availableMemory(device));
  const shared = device === 'cpu';
  const { bytes, source } = leaders[shared ? hosts.indexOf(hosts[rank]!) : rank]!;
  const pairs = [...sources.train.pairs, ...(sources.evaluation?.pairs ?? [])].map(lengthsOf);
  const own = fitMemory(
    config,
    {
      spec: sources.spec,
      timePairs: pairs,
      memoryPairs: pairs,
      sharedTokens: sources.sharedAugmentation.length,
    },
    {
      worldSize,
      ranksHere: shared ? hosts.filter(host => host === hosts[rank]).length : 1,
      availableBytes: bytes,
      source,
    },
  );
  const fits = communicator.exchange(own);
  const failing = fits.findIndex(fit => !fit.fits);
  if (failing === -1) return;
  const fit = fits[failing]!;
  onEvent({ type: 'memory', fit });
  const where = worldSize === 1 ? '' : ` on ${hosts[failing]}`;
  const message = `${describeNeed(fit)} of memory${where}, but ${gibibytes(fit.availableBytes)} are ${fit.source}.`;
  if (config.training.memoryCheck === 'warn') {
    onEvent({ type: 'notice', message: `${message} The system may end the run.` });
    return;
  }
  throw new ConfigError(message, { field: 'training.memoryCheck', hint: adviceFor(fit) });
}

function describeNeed({ memory, neededBytes, ranksHere }: MemoryFit): string {
  const needed = `A step needs ${gibibytes(neededBytes)}`;
  return ranksHere === 1 ? needed : `${needed} (${ranksHere} ranks of ${gibibytes(memory.totalBytes)})`;
}

function adviceFor({ changes }: MemoryFit): string {
  const fitting = changes.filter(({ fits }) => fits);
  const start = 'training.memoryCheck: warn starts it all the same.';
  if (fitting.length === 0) return `No setting of this run makes it fit: use a smaller model. ${start}`;
  const named = fitting.map(({ change, totalBytes }) => `${change} (${gibibytes(totalBytes)} a rank)`);
  return `What would fit: ${named.join('; ')}. ${start}`;
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
