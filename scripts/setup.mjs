// Makes a fresh clone ready to run: system packages, npm packages, build. Needs nothing but Node, says nothing when
// there is nothing to do. With --for-tests also the packages that only tests need, where they can be installed.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../native/scripts/cuda.mjs';
import { findOneDnn, ONEDNN_HELP } from '../native/scripts/onednn.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function say(message) {
  process.stderr.write(`${message}\n`);
}

function fail(message) {
  say(message);
  process.exit(1);
}

/** Debian packages of what the build needs and this machine lacks. */
function missingPackages() {
  const missing = ['g++', 'make', 'python3'].filter(name => {
    const alternatives = name === 'g++' ? ['g++', 'clang++', 'c++'] : [name];
    return !alternatives.some(program => findProgram(program) !== undefined);
  });
  if (findOneDnn() === undefined) missing.push('libdnnl-dev');
  return missing;
}

/** `[]` as root, `['sudo', '-n']` where sudo asks no password, undefined where this user may not install. */
function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  const allowed = findProgram('sudo') !== undefined && spawnSync('sudo', ['-n', 'true']).status === 0;
  return allowed ? ['sudo', '-n'] : undefined;
}

/** Debian packages of the tests of several ranks that this machine lacks. */
function missingTestPackages() {
  const programs = { mpirun: 'openmpi-bin', mpicxx: 'libopenmpi-dev', ip: 'iproute2' };
  return Object.entries(programs)
    .filter(([program]) => findProgram(program) === undefined)
    .map(([, name]) => name);
}

/** What went wrong, or undefined. `prefix`: of a command that root must run. */
function aptInstall(prefix, packages) {
  const apt = (...args) => {
    const [command, ...rest] = [
      ...prefix,
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      '-qq',
      ...args,
    ];
    return spawnSync(command, rest, { encoding: 'utf8' });
  };
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
  say(`Installing ${packages.join(', ')} with apt-get ...`);
  let result = install();
  if (result.status !== 0) {
    apt('update'); // the package lists may be missing or old
    result = install();
  }
  return result.status === 0 ? undefined : result.stderr;
}

function aptPrefix() {
  return findProgram('apt-get') === undefined ? undefined : rootPrefix();
}

function installPackages(packages) {
  const prefix = aptPrefix();
  if (prefix === undefined) {
    const tools = packages.filter(name => name !== 'libdnnl-dev');
    const toolHelp =
      tools.length === 0
        ? ''
        : `Missing: ${tools.join(', ')} (a C++20 compiler, make and python3 are needed). `;
    fail(
      toolHelp + (packages.includes('libdnnl-dev') ? ONEDNN_HELP : 'Install them with your package manager.'),
    );
  }
  const failure = aptInstall(prefix, packages);
  if (failure !== undefined)
    fail(`${failure}\n"apt-get install ${packages.join(' ')}" failed; install them by hand.`);
}

function installTestPackages(packages) {
  const prefix = aptPrefix();
  if (prefix === undefined || aptInstall(prefix, packages) !== undefined)
    say(`Tests of several ranks are skipped: ${packages.join(', ')} could not be installed.`);
}

/** npm writes node_modules/.package-lock.json at the end of an installation. */
function mustInstallNpmPackages() {
  const installed = path.join(root, 'node_modules', '.package-lock.json');
  const wanted = path.join(root, 'package-lock.json');
  return !existsSync(installed) || statSync(installed).mtimeMs < statSync(wanted).mtimeMs;
}

/** Runs a command quietly; speaks up when it takes long, and shows what it printed when it fails. */
function run(notice, command, args) {
  return new Promise(resolve => {
    const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1' };
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', text => {
      output += text;
    });
    child.stderr.on('data', text => {
      output += text;
    });
    const patience = setTimeout(() => say(notice), 2000);
    child.on('error', error => fail(`${command} does not start: ${error.message}`));
    child.on('close', status => {
      clearTimeout(patience);
      if (status !== 0)
        fail(`${output}\n"${[path.basename(command), ...args].join(' ')}" failed; the reason is above.`);
      resolve();
    });
  });
}

const packages = missingPackages();
if (packages.length > 0) installPackages(packages);
const testPackages = process.argv.includes('--for-tests') ? missingTestPackages() : [];
if (testPackages.length > 0) installTestPackages(testPackages);
if (mustInstallNpmPackages()) {
  await run('Installing npm packages ...', 'npm', ['ci', '--no-audit', '--no-fund']);
}
const turbo = path.join(root, 'node_modules', '.bin', 'turbo');
await run('Building (about a minute the first time) ...', turbo, [
  'run',
  'build',
  '--output-logs=errors-only',
]);
