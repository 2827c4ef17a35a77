import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { NativeBinding } from './binding.js';
import { NativeError } from './errors.js';

const file = fileURLToPath(new URL('../build/Release/sralign_native.node', import.meta.url));

let loaded: NativeBinding | undefined;

/** The addon of this process or worker thread, loaded at the first call. Throws `NativeError` (ERR_NATIVE_LOAD). */
export function native(): NativeBinding {
  loaded ??= load();
  return loaded;
}

function load(): NativeBinding {
  if (!existsSync(file)) {
    throw new NativeError(
      'ERR_NATIVE_LOAD',
      `The native addon is not built: ${file} is missing. Run "npm run build"; it needs a C++20 compiler, make, ` +
        'python3 and oneDNN (Debian and Ubuntu: "apt-get install g++ make python3 libdnnl-dev").',
    );
  }
  try {
    const binding = createRequire(import.meta.url)(file) as NativeBinding;
    binding.setErrorClass(NativeError);
    return binding;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const fix = reason.includes('libdnnl')
      ? 'Install oneDNN (Debian and Ubuntu: "apt-get install libdnnl-dev"), then run "npm run build".'
      : 'If it was built for another machine or Node version, run "npm run build".';
    throw new NativeError('ERR_NATIVE_LOAD', `The native addon does not load: ${reason}. ${fix}`, { cause });
  }
}
