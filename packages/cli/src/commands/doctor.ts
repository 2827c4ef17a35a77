/** `sralign doctor`: what would be used on this machine, and what is missing. */
import { Command } from 'commander';
import { examples } from '../options.js';
import { inspectMachine, type Machine } from '../report/machine.js';
import { byteSize, listing } from '../report/table.js';
import { version } from '../version.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('say what is used on this machine and what is missing')
    .description(
      'Prints versions, processor, threads, memory and GPU, what sralign would use of them, and what is missing with the ' +
        'command that fixes it. Exit code 1 when something keeps sralign from working. Put its output in bug reports.',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples('sralign doctor', 'sralign doctor --json'))
    .action(runDoctor);
}

async function runDoctor(options: { json?: boolean }): Promise<void> {
  const machine = await inspectMachine(version);
  process.stdout.write(`${options.json ? JSON.stringify(machine, null, 2) : describe(machine)}\n`);
  if (machine.findings.some(finding => finding.level === 'problem')) process.exitCode = 1;
}

function describe(machine: Machine): string {
  const { versions, engine, memoryBytes, gpus, findings } = machine;
  const engineLines: [string, string][] = engine.loaded
    ? [
        ['processor', engine.processor],
        ['instructions', engine.instructionSets.join(' ')],
        ['kernels', engine.kernels],
        ['oneDNN', `${engine.oneDnnVersion}, ${engine.oneDnnIsa}`],
        ['bf16', engine.nativeBf16 ? 'native' : 'rounded to bf16, computed in f32'],
        ['threads', `${engine.threads} of ${engine.cores} cores`],
        ['MPI', engine.mpi ? 'built' : 'not built: one process (docs/distributed.md)'],
      ]
    : [['engine', 'not loaded']];
  const usable = engine.loaded ? engine.cuda.devices : [];
  const gpuLines: [string, string][] =
    usable.length > 0
      ? usable.map((device, index) => [
          `cuda:${index}`,
          `${device.name}, compute capability ${device.computeCapability}, ` +
            `${byteSize(device.freeBytes)} free of ${byteSize(device.totalBytes)}`,
        ])
      : [['GPU', gpus.length === 0 ? 'none found' : `${gpus.join(', ')} (not usable)`]];
  const lines = listing([
    ['sralign', versions.sralign],
    ['node', `${versions.node} (${versions.platform})`],
    ...engineLines,
    ['memory', `${byteSize(memoryBytes.available)} free of ${byteSize(memoryBytes.total)}`],
    ...gpuLines,
  ]);
  const remarks = findings.map(
    ({ level, text, fix }) =>
      `${level === 'problem' ? 'PROBLEM' : 'note'}: ${text}${fix ? `\n  -> ${fix}` : ''}`,
  );
  return [lines, remarks.length === 0 ? 'Nothing is missing.' : remarks.join('\n')].join('\n\n');
}
