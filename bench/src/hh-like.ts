/**
 * Preference pairs in the form of HH-RLHF, as many as are asked for, made from a few thousand real ones: the turns of a
 * dialogue are put together from sentences of other dialogues. One word in 200 gets a slip of the pen, so that rare words
 * come about as often as among as many real pairs: without them a cache of words would look better than it is.
 */
import { open, readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { Random } from './pairs.js';

const EXAMPLES = new URL('../../examples/data/hh-rlhf/', import.meta.url);
const FILES = ['harmless-base', 'helpful-base'].flatMap(name => [
  `${name}.train.jsonl.gz`,
  `${name}.eval.jsonl.gz`,
]);
const WORDS_A_SLIP = 200;
const WRITE_BYTES = 2 ** 22;

interface Pools {
  readonly human: string[];
  readonly assistant: string[];
}

/** Writes `pairs` records {chosen, rejected} as JSON lines; of one number always the same. @returns bytes of text */
export async function writeHhLike(file: string, pairs: number): Promise<number> {
  const dialogues = await realDialogues();
  const pools: Pools = { human: [], assistant: [] };
  for (const turns of dialogues) {
    for (const [index, turn] of turns.entries())
      pools[index % 2 === 0 ? 'human' : 'assistant'].push(...sentences(turn));
  }
  const random = new Random(20_261_128);
  await using handle = await open(file, 'w');
  let lines: string[] = [];
  let pending = 0;
  let textBytes = 0;
  const flush = async (): Promise<void> => {
    await handle.writeFile(lines.join(''));
    lines = [];
    pending = 0;
  };
  for (let pair = 0; pair < pairs; pair++) {
    const [chosen, rejected] = likeOne(dialogues[random.integer(0, dialogues.length - 1)]!, pools, random);
    const line = `${JSON.stringify({ chosen, rejected })}\n`;
    textBytes += Buffer.byteLength(chosen) + Buffer.byteLength(rejected);
    lines.push(line);
    pending += line.length;
    if (pending > WRITE_BYTES) await flush();
  }
  await flush();
  return textBytes;
}

/** The turns of the chosen dialogues, those of the human first. */
async function realDialogues(): Promise<string[][]> {
  const dialogues: string[][] = [];
  for (const name of FILES) {
    const text = gunzipSync(await readFile(new URL(name, EXAMPLES))).toString();
    for (const line of text.split('\n').filter(line => line !== '')) {
      const { chosen } = JSON.parse(line) as { chosen: string };
      const turns = chosen.split(/\n\n(?:Human|Assistant):/).slice(1);
      if (turns.length >= 2) dialogues.push(turns);
    }
  }
  return dialogues;
}

/** A turn in parts of which each is a sentence with the white space before it. */
const sentences = (turn: string): string[] => turn.match(/\s*[^.!?\n]+[.!?]*/g) ?? [];

/** As many turns, of as many sentences each, as `dialogue` has; the two differ in their last turn. */
function likeOne(dialogue: readonly string[], pools: Pools, random: Random): [string, string] {
  const even = dialogue.length - (dialogue.length % 2);
  const write = (turn: string, speaker: keyof Pools): string => {
    const count = Math.max(1, sentences(turn).length);
    const parts = Array.from(
      { length: count },
      () => pools[speaker][random.integer(0, pools[speaker].length - 1)]!,
    );
    return withSlips(` ${parts.join('').trimStart()}`, random);
  };
  let prompt = '';
  for (const [index, turn] of dialogue.slice(0, even - 1).entries()) {
    const speaker = index % 2 === 0 ? 'human' : 'assistant';
    prompt += `\n\n${speaker === 'human' ? 'Human' : 'Assistant'}:${write(turn, speaker)}`;
  }
  prompt += '\n\nAssistant:';
  const last = dialogue[even - 1]!;
  return [prompt + write(last, 'assistant'), prompt + write(last, 'assistant')];
}

/** Exchanges two letters inside of some words. */
function withSlips(text: string, random: Random): string {
  return text.replace(/[a-z]{4,}/gi, word => {
    if (random.integer(1, WORDS_A_SLIP) > 1) return word;
    const at = random.integer(1, word.length - 3);
    return word.slice(0, at) + word[at + 1] + word[at] + word.slice(at + 2);
  });
}
