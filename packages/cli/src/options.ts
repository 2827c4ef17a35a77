/** Option readers shared by the commands. A wrong value is a usage error (exit code 2). */
import { InvalidArgumentError, Option } from 'commander';

/** A whole number >= `minimum`. */
export const wholeNumber =
  (minimum: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < minimum || text.trim() === '')
      throw new InvalidArgumentError(`It must be a whole number of at least ${minimum}.`);
    return value;
  };

/** A number with `minimum <= value <= maximum`. */
export const numberBetween =
  (minimum: number, maximum: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!(value >= minimum && value <= maximum) || text.trim() === '')
      throw new InvalidArgumentError(
        maximum === Number.POSITIVE_INFINITY
          ? `It must be a number of at least ${minimum}.`
          : `It must be a number from ${minimum} to ${maximum}.`,
      );
    return value;
  };

/** A finite number > 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value)))
    throw new InvalidArgumentError('It must be a number greater than 0.');
  return value;
}

/** `--set key=value`, which train, plan and data preview share: repeatable, collected in order. */
export const setOption = (): Option =>
  new Option(
    '--set <key=value>',
    'set a key of the configuration, as in --set loss.beta=0.05 or --loss.beta=0.05 (repeatable)',
  )
    .argParser((assignment: string, before: string[]) => [...before, assignment])
    .default([], 'none');

const CHAT_TEMPLATE = 'chat template: chatml, llama-3, zephyr, mistral, gemma, hh, or a Jinja file';

/** `--chat-template`, for a command that takes no configuration. */
export const chatTemplateOption = (more: string): Option =>
  new Option('--chat-template <name>', `${CHAT_TEMPLATE}; ${more}`);

/** The same for one that does: tokens.chatTemplate. Adds to what `--set` collects. */
export const chatTemplateSetting = (): Option =>
  new Option('--chat-template <name>', `${CHAT_TEMPLATE} (tokens.chatTemplate)`);

/** What `--set` says, with what is set by options of their own. */
export const settingsOf = ({
  set,
  chatTemplate,
}: {
  set: readonly string[];
  chatTemplate?: string;
}): string[] =>
  chatTemplate === undefined ? [...set] : [...set, `tokens.chatTemplate=${JSON.stringify(chatTemplate)}`];

/** `--device`, for the commands that take no configuration. */
export const deviceOption = (): Option =>
  new Option('--device <device>', 'cpu, cuda (the first GPU) or cuda:N').default('cpu').argParser(text => {
    if (!/^(cpu|cuda(:\d+)?)$/.test(text)) throw new InvalidArgumentError('It must be cpu, cuda or cuda:N.');
    return text;
  });

/** The examples at the end of a --help. */
export const examples = (...lines: string[]): string =>
  `\nExamples:\n${lines.map(line => `  $ ${line}`).join('\n')}\n`;

/** `--loss.beta=0.05` is `--set loss.beta=0.05`; what follows `--` stays as it is. */
export function withSettings(args: readonly string[]): string[] {
  const end = args.indexOf('--');
  return args.flatMap((arg, index) => {
    const isSetting =
      /^--[a-z]\w*(\.\w+)+=/i.test(arg) && (end === -1 || index < end || args[0] === 'launch');
    return isSetting ? ['--set', arg.slice(2)] : [arg];
  });
}
