/** Whether a reference model can score the pairs of a run: the same tokens must be the same words to both models. */
import { ConfigError, ModelError } from '../errors.js';
import { readModelSpec } from '../model/load.js';
import { type EncodedDataset, tokensOf } from '../tokens/encode.js';
import { isPair } from '../tokens/examples.js';
import { loadTokenizer, type Tokenizer } from '../tokens/tokenizer.js';

/**
 * @param folder of the reference model
 * @param tokenizer of the run
 * @throws ModelError where the folder cannot be read; ConfigError naming reference.model when its vocabulary is too small, its
 *   positions too few, or its tokenizer means something else by the tokens of the pairs
 */
export async function checkReference(
  folder: string,
  tokenizer: Tokenizer,
  datasets: readonly EncodedDataset[],
): Promise<void> {
  const { vocabularySize, maxPositions } = await readModelSpec(folder);
  const used = new Set<number>();
  for (const dataset of datasets) checkDataset(dataset, vocabularySize, maxPositions, used);
  const own = await loadTokenizer(folder).catch(error => {
    if (error instanceof ModelError) return null; // a reference needs none
    throw error;
  });
  if (own === null || own.hash === tokenizer.hash) return;
  const other = [...used].find(id => own.decode([id]) !== tokenizer.decode([id]));
  if (other === undefined) return;
  throw new ConfigError(
    `The reference model has another tokenizer: token ${other} is ${JSON.stringify(tokenizer.decode([other]))} in the data, ` +
      `but ${JSON.stringify(own.decode([other]))} to the reference model in ${folder}.`,
    { field: 'reference.model', hint: SAME_FAMILY },
  );
}

const SAME_FAMILY =
  'Use a reference model with the tokenizer of the policy, as the model that the policy was trained from, or leave ' +
  'reference.model out.';

/** @param used gets the tokens of the pairs */
function checkDataset(
  { pairs, sharedAugmentation }: EncodedDataset,
  vocabularySize: number,
  maxPositions: number,
  used: Set<number>,
): void {
  for (const pair of pairs.filter(isPair)) {
    const { file, row, prompt, augmentedPrompt, chosen, rejected } = pair;
    for (const ids of [sharedAugmentation, ...tokensOf(pair)]) {
      for (const id of ids) {
        used.add(id);
        if (id < vocabularySize) continue;
        throw new ConfigError(
          `The pairs have token ${id}, but the reference model has a vocabulary of ${vocabularySize}.`,
          { file, row, field: 'reference.model', hint: SAME_FAMILY },
        );
      }
    }
    const answer = Math.max(chosen.length, rejected.length);
    const longest = Math.max(prompt.length, sharedAugmentation.length + augmentedPrompt.length) + answer;
    if (longest <= maxPositions) continue;
    throw new ConfigError(
      `A sequence of ${longest} tokens does not fit the reference model's ${maxPositions} positions.`,
      {
        file,
        row,
        field: 'reference.model',
        hint: 'Lower tokens.maxTokens, or use another reference model.',
      },
    );
  }
}
