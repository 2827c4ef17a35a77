// Loads another addon than the package does: node --require redirect.cjs, with SRALIGN_TEST_ADDON.
const Module = require('node:module');

const load = Module._extensions['.node'];
Module._extensions['.node'] = (module, filename) => {
  const isAddon = filename.endsWith('sralign_native.node');
  return load(module, isAddon ? process.env.SRALIGN_TEST_ADDON : filename);
};
