import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Builds the CUDA library that runs on the processor, before the tests of the project `cuda-host`. */
export default function buildCudaHost(): void {
  if (process.env.SRALIGN_CUDA_LIBRARY) return; // the caller brings one of its own
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const { status, stdout, stderr } = spawnSync('make', ['-C', folder, '-j2', 'library'], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`native/test/cuda-host does not build:\n${stdout}${stderr}`);
}
