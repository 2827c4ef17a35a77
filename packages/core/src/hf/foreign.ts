/** Folders that look like models and are not what can be read here: what they are, and the way out. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError } from '../errors.js';
import { isRecord } from './json.js';

/** What of a model is wanted: its weights, what is beside them, or only the tokenizer. */
export type ModelNeed = 'weights' | 'config' | 'tokenizer';

/** What a folder or repository holds instead of a model in safetensors. */
interface Foreign {
  /** A sentence. */
  readonly what: string;
  readonly hint: string;
}

const CONVERT =
  "from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_pretrained('FOLDER').save_pretrained('NEW_FOLDER')";

/** What older quantizers leave beside weights whose config.json does not say it. */
const QUANTIZED = [
  { file: 'quantize_config.json', method: 'GPTQ' },
  { file: 'quant_config.json', method: 'AWQ' },
] as const;

/** Weights in other formats, by the names of their files. */
const WEIGHTS: readonly { readonly name: RegExp; readonly foreign: Foreign }[] = [
  {
    name: /^pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?$/,
    foreign: {
      what: 'The weights are pickles of PyTorch (pytorch_model.bin).',
      hint:
        'Only safetensors are read, which cannot run code. Convert it once, in Python: ' +
        `\`${CONVERT}\`, and copy the tokenizer's files beside it.`,
    },
  },
  {
    name: /\.gguf$/i,
    foreign: {
      what: 'The weights are in the GGUF format, of llama.cpp.',
      hint:
        'Use the model that it was made from, in the safetensors format; transformers turns a GGUF file into it: ' +
        "`AutoModelForCausalLM.from_pretrained('FOLDER', gguf_file='NAME.gguf').save_pretrained('NEW_FOLDER')`.",
    },
  },
  {
    name: /^consolidated(\.\d+)?\.(pth|safetensors)$/,
    foreign: {
      what: 'The weights are in the original layout of Llama or Mistral (consolidated.*), whose tensors have other names.',
      hint: "Use the model's Hugging Face form, with config.json and model.safetensors.",
    },
  },
  {
    name: /^(tf_model.*\.h5|flax_model.*\.msgpack|model\.onnx|.*\.ckpt|.*\.pth?)$/,
    foreign: {
      what: 'The weights are those of another framework.',
      hint: 'Use the same model in the safetensors format.',
    },
  },
];

/**
 * What the files of a model folder or repository are, where they are no model in safetensors.
 *
 * @param names of its files @param baseModel that an adapter's configuration names, or null
 */
function foreignModel(names: readonly string[], baseModel: string | null): Foreign | null {
  const has = (name: string): boolean => names.includes(name);
  const quantized = QUANTIZED.find(({ file }) => has(file));
  if (quantized !== undefined) {
    return {
      what: `The weights are quantized by ${quantized.method} (${quantized.file}).`,
      hint: 'sralign trains F32, F16 and BF16 weights: use the model that this one was made from.',
    };
  }
  if (names.some(name => /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(name))) return null;
  if (has('adapter_config.json') || names.some(name => /^adapter_model\./.test(name))) {
    const base = baseModel === null ? 'its base model' : `its base model, ${baseModel}`;
    return {
      what: `This is a LoRA adapter (adapter_config.json), not a model: it holds what training has changed in ${base}.`,
      hint:
        'Merge them once, in Python: `from peft import AutoPeftModelForCausalLM; ' +
        "AutoPeftModelForCausalLM.from_pretrained('FOLDER').merge_and_unload().save_pretrained('NEW_FOLDER')`, and copy " +
        "the tokenizer's files beside it.",
    };
  }
  return WEIGHTS.find(({ name }) => names.some(of => name.test(of)))?.foreign ?? null;
}

/** @throws ModelError naming what the folder or repository holds instead of a model; none where it can be one */
export function refuseForeign(place: string, names: readonly string[], baseModel: string | null): void {
  const foreign = foreignModel(names, baseModel);
  if (foreign !== null) throw new ModelError(foreign.what, { file: place, hint: foreign.hint });
}

/** The model that a folder's adapter_config.json names; null for none. */
export async function baseModelOf(folder: string): Promise<string | null> {
  try {
    const config: unknown = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));
    const base = isRecord(config) ? config.base_model_name_or_path : undefined;
    return typeof base === 'string' && base !== '' ? base : null;
  } catch {
    return null;
  }
}
