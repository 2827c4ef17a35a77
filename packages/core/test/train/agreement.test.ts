import type { Communicator } from '@sralign/native';
import { SOLO } from '@sralign/native';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { agreeOnConfig, agreeOnSources } from '../../src/train/agreement.js';
import type { Sources } from '../../src/train/prepare.js';
import { referenceCases, storiesFolder } from '../support.js';

/** Rank `rank` of a job; `others` says what the other ranks make of what this one exchanges. */
function rankOf(
  hosts: string[],
  rank: number,
  others: (own: unknown, rank: number) => unknown,
): Communicator {
  return {
    ...SOLO,
    rank,
    worldSize: hosts.length,
    hosts,
    exchange: <T>(value: T) => hosts.map((_, r) => (r === rank ? value : (others(value, r) as T))),
  };
}

const config = (changes: object = {}) =>
  parseConfig({
    method: 'dpo',
    model: { path: storiesFolder },
    data: { format: 'hh', train: 'pairs.jsonl' },
    output: { folder: 'runs/x' },
    ...changes,
  });

const REQUEST = { '--resume': false };

describe('the ranks agree', () => {
  it('on the configuration, but for the threads', () => {
    const same = rankOf(['a', 'b'], 0, own => ({ ...(own as object), 'training.threads': 7 }));
    expect(() => agreeOnConfig(config(), REQUEST, same)).not.toThrow();
    const other = rankOf(['a', 'b'], 0, own => ({ ...(own as object), 'loss.beta': 0.5 }));
    expect(() => agreeOnConfig(config(), REQUEST, other)).toThrow(
      'The ranks disagree about loss.beta: it is 0.1 on rank 0 (a), but 0.5 on rank 1 (b).',
    );
  });

  it('on the arguments', () => {
    const other = rankOf(['a', 'b', 'c'], 2, (own, rank) => ({ ...(own as object), '--resume': rank === 0 }));
    expect(() => agreeOnConfig(config(), REQUEST, other)).toThrow(
      /--resume: it is true on rank 0 .* false on rank 1/,
    );
  });

  const sources = (referenceFolder: string): Sources => {
    const pairs = { pairs: [], chunks: [], sharedAugmentation: new Int32Array() };
    const tokenizer = { hash: 'a tokenizer', chatTemplate: null };
    return {
      modelFolder: storiesFolder,
      referenceFolder,
      train: pairs,
      evaluation: null,
      tokenizer,
    } as unknown as Sources;
  };
  const seen = async (
    communicator: (exchanged: Record<string, unknown>[]) => Communicator,
    folder: string,
  ) => {
    const exchanged: Record<string, unknown>[] = [];
    const inputs = await agreeOnSources(config(), sources(folder), communicator(exchanged));
    return { inputs, exchanged };
  };

  it('on the reference model, which one rank of a host reads', async () => {
    const folder = `${referenceCases}/llama_gqa/ref`;
    const honest = (rank: number) => (exchanged: Record<string, unknown>[]) =>
      rankOf(['a', 'a'], rank, own => {
        exchanged.push(own as Record<string, unknown>);
        return own;
      });
    const first = await seen(honest(0), folder);
    expect(first.inputs.reference).toMatch(/^[0-9a-f]{64}$/);
    expect(first.inputs.model).toMatch(/^[0-9a-f]{64}$/);
    const second = await seen(honest(1), folder).catch(error => error as Error);
    // The second of a host has read neither model, and takes the first one's word.
    expect(second).toMatchObject({
      exchanged: [expect.not.objectContaining({ 'the model (model.path)': expect.anything() })],
    });

    const other = (exchanged: Record<string, unknown>[]) =>
      rankOf(['a', 'b'], 0, own => {
        exchanged.push(own as Record<string, unknown>);
        return { ...(own as object), 'the reference model (reference.model)': 'another' };
      });
    await expect(seen(other, folder)).rejects.toThrow(
      /the reference model .* on rank 0 \(a\), but "another" on rank 1 \(b\)/,
    );
  });
});
