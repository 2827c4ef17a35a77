/** `sralign verify CASE_DIR`: this build on this machine against reference numbers in float64. */
import type { VerifyReport } from '@sralign/core';
import type { DeviceName } from '@sralign/native';
import { Command, Option } from 'commander';
import { deviceOption, examples } from '../options.js';
import { table } from '../report/table.js';

interface VerifyOptions {
  dtype: 'f32' | 'bf16';
  device: DeviceName;
  json?: boolean;
}

export function verifyCommand(): Command {
  return new Command('verify')
    .summary('check this machine against reference numbers')
    .description(
      'Compares log-probs, losses, gradients and optimizer steps with a reference case and prints the largest error of ' +
        'each quantity. Exit code 1 when one is beyond its tolerance. Run it on new hardware.',
    )
    .argument('<case>', 'folder with case.json, expected.safetensors, model/ and ref/ (docs/verification.md)')
    .addOption(new Option('--dtype <type>', 'compute type').choices(['f32', 'bf16']).default('f32'))
    .addOption(deviceOption())
    .option('--json', 'print the report as one JSON object')
    .addHelpText(
      'after',
      examples(
        'sralign verify packages/core/test/fixtures/reference/llama_gqa',
        'sralign verify packages/core/test/fixtures/reference/gpt_neox --dtype bf16 --json',
      ),
    )
    .action(runVerify);
}

async function runVerify(folder: string, options: VerifyOptions): Promise<void> {
  const { chooseDevice, verifyCase } = await import('@sralign/core');
  chooseDevice(options.device, '--device');
  const report = await verifyCase(folder, { dtype: options.dtype });
  process.stdout.write(`${options.json ? JSON.stringify(report) : verdict(report)}\n`);
  if (!report.passed) process.exitCode = 1;
}

function verdict(report: VerifyReport): string {
  const failed = report.quantities.filter(quantity => !quantity.passed);
  const worst = failed.flatMap(({ name, worstTensor }) =>
    worstTensor === null ? [] : [`${name}: worst is ${worstTensor}`],
  );
  return [
    `${report.case}, ${report.dtype}; x is the expected number`,
    table(
      ['quantity', 'abs. error', 'rel. error', 'tolerance', ''],
      report.quantities.map(quantity => [
        quantity.name,
        quantity.maxAbsoluteError.toExponential(2),
        quantity.maxRelativeError.toExponential(2),
        quantity.tolerance,
        quantity.passed ? 'ok' : 'FAIL',
      ]),
    ),
    ...(worst.length === 0 ? [] : [worst.join('\n')]),
    failed.length === 0
      ? `All ${report.quantities.length} quantities are within tolerance.`
      : `${failed.length} of ${report.quantities.length} quantities are beyond tolerance.`,
  ].join('\n\n');
}
