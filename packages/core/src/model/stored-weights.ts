/** The tensors of a checkpoint under the names that a model asks for, none of them left over. */
import type { Communicator } from '@sralign/native';
import { ModelError } from '../errors.js';
import { checkShape } from '../shard/fill.js';
import type { SavedTensor, SavedTensors } from '../shard/saved-tensors.js';
import { elementsOf } from '../shard/shards-file.js';
import type { StoredShapes } from './parameters.js';
import type { ModelSpec } from './spec.js';

/** Buffers that older versions of transformers stored beside the weights; they follow from config.json. */
const BUFFERS = /(^|\.)(rotary_emb\.inv_freq|attention\.(bias|masked_bias))$/;

/** Of the embedding and the LM head, which are one matrix where the model ties them. */
const TABLES: Readonly<
  Record<ModelSpec['modelType'], { readonly embedding: string; readonly head: string }>
> = {
  gpt_neox: { embedding: 'gpt_neox.embed_in.weight', head: 'embed_out.weight' },
  llama: { embedding: 'model.embed_tokens.weight', head: 'lm_head.weight' },
  mistral: { embedding: 'model.embed_tokens.weight', head: 'lm_head.weight' },
};

/** Elements compared at once. */
const COMPARED_ELEMENTS = 4 * 1024 * 1024;
const NAMED_TENSORS = 5;

export class StoredWeights implements StoredShapes {
  private readonly expected = new Set<string>();

  private constructor(
    /** What config.json says, but with a head of its own where one is stored that differs from the embedding. */
    readonly spec: ModelSpec,
    /** What the user should know. */
    readonly notices: readonly string[],
    private readonly tensors: SavedTensors,
    private readonly folder: string,
  ) {}

  /**
   * @param spec as config.json says it. Like transformers, a head that is stored beside the embedding and differs from it is
   *   used, whatever tie_word_embeddings says.
   * @param communicator of the ranks that load the model, all of which call it; the first reads
   * @throws ModelError, CheckpointError when the two cannot be read
   */
  static async open(
    spec: ModelSpec,
    tensors: SavedTensors,
    folder: string,
    communicator: Communicator,
  ): Promise<StoredWeights> {
    const own = communicator.rank === 0 && spec.tiedEmbeddings && (await headDiffers(spec, tensors));
    const [differs] = communicator.exchange(own);
    if (!differs) return new StoredWeights(spec, [], tensors, folder);
    const notice =
      `${folder}: the stored ${TABLES[spec.modelType].head} differs from the embedding, so it is used, although config.json ` +
      'says tie_word_embeddings: true; the trained model will say false.';
    return new StoredWeights({ ...spec, tiedEmbeddings: false }, [notice], tensors, folder);
  }

  /** @throws ModelError when there is no such tensor */
  find(name: string): SavedTensor {
    const stored = storedName(name, this.spec, this.tensors);
    if (stored !== undefined) return this.tensors.get(stored)!;
    throw new ModelError('The checkpoint does not have this tensor.', {
      file: this.folder,
      field: name,
      hint: 'Check that config.json belongs to these weights.',
    });
  }

  expect(name: string, shape: readonly number[]): void {
    const saved = this.find(name);
    this.expected.add(saved.name);
    checkShape(saved, shape);
  }

  /**
   * To be called when everything was expected.
   *
   * @throws ModelError naming tensors that the model does not have: without them it would give other numbers than where it
   *   was made
   */
  checkNothingLeft(): void {
    const { embedding, head } = TABLES[this.spec.modelType];
    for (const name of this.spec.tiedEmbeddings ? [embedding, head] : []) {
      const stored = storedName(name, this.spec, this.tensors);
      if (stored !== undefined) this.expected.add(stored);
    }
    const left = [...this.tensors.keys()].filter(name => !this.expected.has(name) && !BUFFERS.test(name));
    if (left.length === 0) return;
    const named = left.slice(0, NAMED_TENSORS).join(', ');
    const more = left.length > NAMED_TENSORS ? ` and ${left.length - NAMED_TENSORS} more` : '';
    throw new ModelError(
      `The checkpoint has tensors that a ${this.spec.modelType} model of this config.json does not have: ${named}${more}.`,
      {
        file: this.folder,
        field: left[0]!,
        hint: 'Check model_type, num_hidden_layers and the biases in config.json: the model would not be the one that was saved.',
      },
    );
  }
}

async function headDiffers(spec: ModelSpec, tensors: SavedTensors): Promise<boolean> {
  const { embedding: embeddingName, head: headName } = TABLES[spec.modelType];
  const [embedding, head] = [embeddingName, headName].map(name =>
    tensors.get(storedNames(name).find(candidate => tensors.has(candidate)) ?? ''),
  );
  if (embedding === undefined || head === undefined) return false;
  if (embedding.dtype !== head.dtype || embedding.shape.join() !== head.shape.join()) return true;
  const elements = elementsOf(head.shape);
  for (let start = 0; start < elements; start += COMPARED_ELEMENTS) {
    const end = Math.min(elements, start + COMPARED_ELEMENTS);
    const [a, b] = await Promise.all([embedding.read(start, end), head.read(start, end)]);
    if (Buffer.compare(a, b) !== 0) return true;
  }
  return false;
}

/** The name under which a checkpoint stores a tensor; tied matrices may stand under the name of either. */
function storedName(name: string, spec: ModelSpec, tensors: SavedTensors): string | undefined {
  const { embedding, head } = TABLES[spec.modelType];
  const names = name === embedding && spec.tiedEmbeddings ? [embedding, head] : [name];
  return names.flatMap(storedNames).find(candidate => tensors.has(candidate));
}

/** Names under which checkpoints store the same tensor, ours first. */
function storedNames(name: string): string[] {
  // transformers 5 calls the output matrix of GPT-NeoX lm_head in memory and writes embed_out; accept both.
  if (name === 'embed_out.weight') return [name, 'lm_head.weight'];
  // Checkpoints saved from the base model have no family prefix.
  return [name, name.replace(/^(gpt_neox|model)\./, '')];
}
