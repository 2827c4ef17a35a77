/** When the MPI library is built again (scripts/mpi.mjs), with stand-ins for the compilers of two MPIs. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const script = new URL('../scripts/mpi.mjs', import.meta.url).href;
let root: string;
let bin: string;
let library: string;

/** Writes its own name into the library, and fails where FAILURE is set. Says the same as the other one to -show. */
const compiler = (name: string) => `#!/bin/sh
if [ "$1" = -show ]; then echo "g++ $EXTRA_FLAGS"; exit 0; fi
if [ -n "$FAILURE" ]; then echo "$FAILURE" >&2; exit 1; fi
while [ "$1" != -o ]; do shift; done
echo ${name} > "$2"
`;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sralign mpi '));
  bin = join(root, 'bin');
  library = join(root, 'build', 'libsralign_mpi.so');
  await mkdir(bin);
  for (const name of ['open', 'mpich']) {
    await writeFile(join(root, name), compiler(name));
    await chmod(join(root, name), 0o755);
  }
  await use('open');
});
afterAll(() => rm(root, { recursive: true }));

/** As Debian does it, by a link. */
async function use(name: string): Promise<void> {
  await symlink(join(root, name), join(bin, 'new'));
  await rename(join(bin, 'new'), join(bin, 'mpicxx'));
}

/** The library's text after a build, and what the build said. */
async function build(env: Record<string, string> = {}): Promise<[text: string, answer: string]> {
  const program = `console.log((await import(${JSON.stringify(script)})).buildMpi(${JSON.stringify(join(root, 'build'))}))`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...process.env, ...env, PATH: `${bin}:${process.env.PATH}` },
  });
  return [(await readFile(library, 'utf8')).trim(), stdout.trim()];
}

test('builds again when MPI, its flags or its answer have changed, and only then', async () => {
  expect(await build()).toEqual(['open', 'undefined']);

  await writeFile(library, 'kept');
  expect(await build()).toEqual(['kept', 'undefined']);

  await use('mpich');
  expect(await build()).toEqual(['mpich', 'undefined']);

  await writeFile(library, 'kept');
  expect(await build({ EXTRA_FLAGS: '-L/else where' })).toEqual(['mpich', 'undefined']);

  await use('open');
  expect(await build({ FAILURE: 'no such header' })).toEqual(['mpich', 'no such header']);
  expect(await build()).toEqual(['open', 'undefined']);
});
