// Prints whether the kernels that must move 16 bytes at a time and use tensor cores were compiled to do so, and fails
// where one was not: from the machine code where cuobjdump is, otherwise from the PTX it is made from.
//
//   node native/scripts/instructions-report.mjs
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram, findToolkit } from './cuda.mjs';

const sources = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'src', 'cuda');
const load = {
  name: '16-byte loads',
  sass: /\bLDG\.E\S*\.128/,
  ptx: /\bld\.global\S*\.v[24]\.[bfus](32|64)\b/,
};
const copy = {
  name: '16-byte copies to shared memory',
  sass: /\bLDGSTS\S*\.128/,
  ptx: /cp\.async\.cg\.shared\.global/,
};
const tensorCore = { name: 'tensor cores', sass: /\bH(G)?MMA\b/, ptx: /mma\.sync\.aligned\.m16n8k16\S*bf16/ };

/** Every kernel of the file whose mangled name matches must have all of these instructions. */
const WANTED = [
  { file: 'logprob_gather.cu', kernel: /logprobGather(Backward)?Kernel/, instructions: [load] },
  { file: 'attention.cu', kernel: /attentionKernelI13__nv_bfloat16/, instructions: [copy, tensorCore] },
  {
    file: 'attention_backward.cu',
    kernel: /attention(Query|Key)GradientKernelI13__nv_bfloat16/,
    instructions: [copy, tensorCore],
  },
];

const toolkit = findToolkit();
const cuobjdump = findProgram('cuobjdump', [path.join(toolkit.root, 'bin')]);
const form = cuobjdump === undefined ? 'ptx' : 'sass';
const folder = mkdtempSync(path.join(tmpdir(), 'sralign-instructions-'));

function run(program, args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 29 });
  if (status !== 0) throw new Error(`${path.basename(program)} failed:\n${stderr}`);
  return stdout;
}

/** The text of each kernel of a file, by its mangled name. */
function kernelsOf(file) {
  const output = path.join(folder, `${file}.${form}`);
  const target = form === 'sass' ? ['-cubin', '-arch=sm_80'] : ['-ptx', '-arch=compute_80'];
  run(toolkit.nvcc, ['-std=c++20', '-O3', ...target, path.join(sources, file), '-o', output]);
  const text = form === 'sass' ? run(cuobjdump, ['-sass', output]) : readFileSync(output, 'utf8');
  const start = form === 'sass' ? /Function : (\w+)/g : /\.entry (\w+)/g;
  const starts = [...text.matchAll(start)];
  return starts.map((match, i) => [match[1], text.slice(match.index, starts[i + 1]?.index)]);
}

let failures = 0;
try {
  process.stdout.write(
    `From the ${form === 'sass' ? 'machine code' : 'PTX (cuobjdump is not here)'} for sm_80:\n`,
  );
  for (const { file, kernel, instructions } of WANTED) {
    const kernels = kernelsOf(file).filter(([name]) => kernel.test(name));
    if (kernels.length === 0) throw new Error(`${file} has no kernel that matches ${kernel}.`);
    for (const instruction of instructions) {
      const without = kernels.filter(([, text]) => !instruction[form].test(text)).map(([name]) => name);
      failures += without.length;
      const verdict =
        without.length === 0 ? `all ${kernels.length} kernels` : `MISSING in ${without.join(', ')}`;
      process.stdout.write(`${file}: ${instruction.name}: ${verdict}\n`);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
process.exit(failures === 0 ? 0 : 1);
