/**
 * The work that one rendering may do, counted instead of timed, so that the same template ends in the same way on
 * every machine. Evaluating an expression is a step; a long text or list costs steps in proportion to its length.
 */
import { BudgetExceeded } from './errors.js';

const BASE_STEPS = 10_000_000;
const STEPS_PER_INPUT_CHARACTER = 64;

let left = 0;

/** Runs `task` with a fresh budget. @param inputCharacters size of what is rendered: long chats may take more work */
export function withBudget<T>(inputCharacters: number, task: () => T): T {
  const outer = left;
  left = BASE_STEPS + STEPS_PER_INPUT_CHARACTER * inputCharacters;
  try {
    return task();
  } finally {
    left = outer;
  }
}

/** @throws BudgetExceeded */
export function spend(steps: number): void {
  left -= steps;
  if (left < 0) throw new BudgetExceeded('it takes too much work');
}

/** A text is read from end to end. */
export function spendOnText(characters: number): void {
  spend(characters / 8);
}

/** Items are walked over. */
export function spendOnItems(items: number): void {
  spend(items);
}

/** A text is made: what bounds the memory of a rendering to tens of MB. */
export function spendOnNewText(characters: number): void {
  spend(characters / 2);
}

/** A list is made. */
export function spendOnNewItems(items: number): void {
  spend(items * 8);
}
