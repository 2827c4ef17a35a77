// Inputs that are changed while a run is interrupted: --resume refuses each by its name, and goes on when what was there is back.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { killedRun, refused } from './damage.mjs';
import { compare, newFolder, undisturbed } from './runs.mjs';

const linesOf = file => readFileSync(file, 'utf8').trimEnd().split('\n');
const writeLines = (file, lines) => writeFileSync(file, `${lines.join('\n')}\n`);

/** Changes the answers of the first row that the run uses: any row may be left out for its length, so it changes all. */
const edit = file =>
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('Assistant: I', 'Assistant: We'));

function editJson(file, change) {
  const value = JSON.parse(readFileSync(file, 'utf8'));
  change(value);
  writeFileSync(file, JSON.stringify(value));
}

function flipLastByte(file) {
  const bytes = readFileSync(file);
  bytes[bytes.length - 2] ^= 1;
  writeFileSync(file, bytes);
}

/** By what is changed: the words that the message must have, and the change. */
const CHANGES = {
  'training rows appended': [
    'data.train',
    run => writeLines(run.train, [...linesOf(run.train), ...linesOf(run.eval)]),
  ],
  'training rows removed': ['data.train', run => writeLines(run.train, linesOf(run.train).slice(0, 40))],
  'training rows edited': ['data.train', run => edit(run.train)],
  'training rows reversed': ['data.train', run => writeLines(run.train, linesOf(run.train).reverse())],
  'evaluation rows edited': ['data.eval', run => edit(run.eval)],
  'evaluation rows removed': ['data.eval', run => writeLines(run.eval, linesOf(run.eval).slice(0, 6))],
  'another model': ['initial model', run => flipLastByte(join(run.model, 'model.safetensors'))],
  'another reference model': [
    'reference model',
    run => flipLastByte(join(run.reference, 'model.safetensors')),
  ],
  'another tokenizer setting': [
    'tokenizer',
    run =>
      editJson(join(run.model, 'tokenizer_config.json'), value => {
        value.add_eos_token = !value.add_eos_token;
        value.add_bos_token = !(value.add_bos_token ?? true);
      }),
  ],
  'another chat template': [
    'chat template',
    run => writeFileSync(join(run.model, 'chat_template.jinja'), '{{ messages[0].content }}'),
  ],
  'no tokenizer': ['tokenizer.json', run => rmSync(join(run.model, 'tokenizer.json'))],
  'no model': ['model', run => rmSync(run.model, { recursive: true })],
  'no training file': ['train.jsonl', run => rmSync(run.train)],
  'another method': [
    'method',
    run =>
      writeFileSync(run.config, readFileSync(run.config, 'utf8').replace('method: sr-dpo', 'method: dpo')),
  ],
  'another batch size': [
    'batchPairs',
    run =>
      writeFileSync(run.config, readFileSync(run.config, 'utf8').replace('batchPairs: 4', 'batchPairs: 2')),
  ],
};

export async function* changedInputs() {
  const prepare = run => {
    run.reference = join(run.home, 'reference');
    cpSync(run.model, run.reference, { recursive: true });
  };
  const settings = ['reference.model=reference'];
  const whole = await undisturbed('inputs', settings, 1, prepare);
  const run = await killedRun('inputs', settings, 1, prepare);
  const kept = newFolder('kept');
  cpSync(run.home, kept, { recursive: true });
  const putBack = () => {
    rmSync(run.home, { recursive: true });
    cpSync(kept, run.home, { recursive: true });
  };
  for (const [what, [words, change]] of Object.entries(CHANGES)) {
    change(run);
    const outcome = refused(await run.start('--resume').ended, words, what);
    yield { part: 'changed inputs', outcome };
    putBack();
  }
  const outcome = compare(await run.start('--resume').ended, run, whole.run);
  yield { part: 'changed inputs: put back', outcome };
}
