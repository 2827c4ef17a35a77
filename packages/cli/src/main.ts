/**
 * The `sralign` command: builds the program from its verbs and turns failures into exit codes.
 *
 *   0 done    1 failed while running    2 wrong usage, configuration or input    130 interrupted after a clean save
 *
 * Results go to stdout, progress and errors to stderr. The ranks of a job speak with one voice: rank 0 prints results
 * and progress, and a failure of any rank is printed once and ends all of them.
 */
import { Command, CommanderError } from 'commander';
import { consolidateCommand } from './commands/consolidate.js';
import { dataCommand } from './commands/data.js';
import { doctorCommand } from './commands/doctor.js';
import { generateCommand } from './commands/generate.js';
import { initCommand } from './commands/init.js';
import { launchCommand } from './commands/launch.js';
import { planCommand } from './commands/plan.js';
import { trainCommand } from './commands/train.js';
import { verifyCommand } from './commands/verify.js';
import { keepIgnoringHangup } from './hangup.js';
import { commandArguments, endWithLauncher, RANK_COMMANDS } from './launched.js';
import { outliveReaders } from './lost-readers.js';
import { examples, withSettings } from './options.js';
import { printForPrograms, recordOf } from './report/error-record.js';
import { version } from './version.js';

function buildProgram(): Command {
  const program = new Command('sralign')
    .description(
      'Direct preference alignment of language models: SFT, DPO, IPO and their self-refined forms.',
    )
    .version(version, '-V, --version', 'print the version')
    .option('--debug', 'print the stack trace of a failure')
    .addHelpText(
      'after',
      examples(
        'sralign train examples/demo/sft.yaml',
        'sralign generate examples/models/stories260k --prompt "Once upon a time"',
        'sralign doctor',
      ),
    );
  for (const command of [
    initCommand(),
    trainCommand(),
    launchCommand(),
    generateCommand(),
    dataCommand(),
    planCommand(),
    consolidateCommand(),
    verifyCommand(),
    doctorCommand(),
  ])
    program.addCommand(command);
  for (const command of withSubcommands(program)) {
    refuseRepetition(command);
    command
      .exitOverride()
      .configureOutput({
        writeErr: text => {
          usage += text;
        },
      })
      .configureHelp({ showGlobalOptions: true })
      .helpOption('-h, --help', 'print this help');
  }
  return program;
}

/** Of an option that takes one value and is given twice, one value would be dropped in silence. */
function refuseRepetition(command: Command): void {
  for (const option of command.options) {
    if (option.isBoolean() || Array.isArray(option.defaultValue)) continue;
    let times = 0;
    command.on(`option:${option.name()}`, () => {
      times++;
      if (times > 1) command.error(`error: option '${option.flags}' takes one value and is given twice`);
    });
  }
}

const withSubcommands = (command: Command): Command[] => [
  command,
  ...command.commands.flatMap(withSubcommands),
];

/**
 * Says what went wrong, on stderr, and under --json as an object on stdout; returns the exit code. As a rank of a job it ends
 * all ranks instead.
 */
async function report(error: unknown, debug: boolean): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : reportUsage(error);
  const failure = error instanceof Error ? error : new Error(String(error));
  const { failWorld, withoutSecrets } = await import('@sralign/core');
  const record = recordOf(failure, withoutSecrets);
  printForPrograms(record, args);
  const message = debug ? `${record.message}\n${withoutSecrets(failure.stack ?? '')}` : record.message;
  failWorld(message, record.exitCode);
  const overProgress = process.stderr.isTTY ? '\r\u001b[K' : '';
  process.stderr.write(`${overProgress}sralign: ${message}\n`);
  return record.exitCode;
}

/** The same for wrong arguments, which commander has described in `usage`. */
async function reportUsage(error: CommanderError): Promise<number> {
  if (error.code === 'commander.unknownCommand') usage += commandsOf(program, args);
  const message = usage.trim();
  printForPrograms({ code: 'ERR_USAGE', exitCode: 2, message }, args);
  if (RANK_COMMANDS.includes(args[0]!)) {
    const { failWorld, joinWorld } = await import('@sralign/core');
    try {
      joinWorld(); // every rank has the same arguments, so that all of them come here
      failWorld(message, 2);
    } catch {
      // Then every rank says it for itself.
    }
  }
  process.stderr.write(usage);
  return 2;
}

/** "Commands: train, generate, ..." of the command whose subcommand is unknown. */
function commandsOf(command: Command, args: readonly string[]): string {
  const inner = command.commands.find(of => of.name() === args[0]);
  if (inner !== undefined && inner.commands.length > 0) return commandsOf(inner, args.slice(1));
  return `Commands: ${command.commands.map(of => of.name()).join(', ')}. \`sralign --help\` says what they do.\n`;
}

keepIgnoringHangup();
const args = withSettings(commandArguments());
outliveReaders(() => args[0] === 'train');
endWithLauncher();
let usage = '';
const program = buildProgram();
try {
  if (args.length === 0) program.outputHelp();
  else await program.parseAsync(args, { from: 'user' });
} catch (error) {
  process.exitCode = await report(error, program.opts().debug === true);
}
