/** Work that the ranks of a host must not all do at once. */
import type { Communicator } from '@sralign/native';

/** Whether this is the first rank of its host. */
export const isHostLeader = ({ hosts, rank }: Communicator): boolean => hosts.indexOf(hosts[rank]!) === rank;

/** Does `work` on the first rank, then on one of every other host, then on the rest: they find what the others have made. */
export async function inTurns<T>(communicator: Communicator, work: () => Promise<T>): Promise<T> {
  const turn = communicator.rank === 0 ? 0 : isHostLeader(communicator) ? 1 : 2;
  let result: T | undefined;
  for (const now of [0, 1, 2]) {
    if (now === turn) result = await work();
    communicator.exchange(null);
  }
  return result!;
}
