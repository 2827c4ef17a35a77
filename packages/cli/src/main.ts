/**
 * The `sralign` command: builds the program from its verbs and turns failures into exit codes.
 *
 *   0 done    1 failed while running    2 wrong usage, configuration or input    130 interrupted after a clean save
 *
 * Results go to stdout, progress and errors to stderr.
 */
import { Command, CommanderError } from 'commander';
import { dataCommand } from './commands/data.js';
import { doctorCommand } from './commands/doctor.js';
import { generateCommand } from './commands/generate.js';
import { trainCommand } from './commands/train.js';
import { verifyCommand } from './commands/verify.js';
import { examples } from './options.js';
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
        'sralign train examples/demo/sr-dpo.yaml --set loss.lambda=0.5',
        'sralign generate examples/models/stories260k --prompt "Once upon a time"',
        'sralign doctor',
      ),
    );
  for (const command of [trainCommand(), generateCommand(), dataCommand(), verifyCommand(), doctorCommand()])
    program.addCommand(command);
  for (const command of withSubcommands(program))
    command
      .exitOverride()
      .configureHelp({ showGlobalOptions: true })
      .helpOption('-h, --help', 'print this help');
  return program;
}

const withSubcommands = (command: Command): Command[] => [
  command,
  ...command.commands.flatMap(withSubcommands),
];

/** Says what went wrong on stderr; returns the exit code. */
function report(error: unknown, debug: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has printed it
  const failure = error instanceof Error ? error : new Error(String(error));
  const overProgress = process.stderr.isTTY ? '\r\u001b[K' : '';
  process.stderr.write(`${overProgress}sralign: ${failure.message}\n`);
  if (debug) process.stderr.write(`${failure.stack}\n`);
  return 'exitCode' in failure && typeof failure.exitCode === 'number' ? failure.exitCode : 1;
}

/** Ends quietly when the reader of our output has gone, as in `sralign generate ... | head -1`. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const program = buildProgram();
try {
  if (process.argv.length === 2) program.outputHelp();
  else await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, program.opts().debug === true);
}
