import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { lockFile } from '@sralign/native';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { resolveModelFolder } from '../../src/hf/resolve.js';
import { temporaryFolder } from '../support.js';
import { COMMIT, MODEL, startHub, useCache } from './hub-server.js';

async function fillCache(repository: string, files: readonly string[]): Promise<string> {
  const snapshot = join(repository, 'snapshots', COMMIT);
  await mkdir(snapshot, { recursive: true });
  await mkdir(join(repository, 'refs'), { recursive: true });
  await writeFile(join(repository, 'refs', 'main'), COMMIT);
  for (const name of files)
    await writeFile(join(snapshot, name), MODEL[name as keyof typeof MODEL] ?? 'weights');
  return snapshot;
}

afterEach(() => vi.unstubAllEnvs());

describe('resolveModelFolder', () => {
  it('takes a local folder as it is', async () => {
    await using folder = await temporaryFolder();
    useCache(folder.path);
    expect(await resolveModelFolder(folder.path, 'main')).toBe(folder.path);
  });

  it('refuses what is neither folder nor hub id', async () => {
    await using folder = await temporaryFolder();
    useCache(folder.path);
    await expect(resolveModelFolder('./none', 'main')).rejects.toThrow(
      /^\.\/none: There is no such folder.*organisation/,
    );
    await expect(resolveModelFolder('../a/b', 'main')).rejects.toThrow(ModelError);
    const file = join(folder.path, 'file');
    await writeFile(file, '');
    await expect(resolveModelFolder(file, 'main')).rejects.toThrow(/This is a file/);
  });

  it('names a folder that is a link to nothing, and does not ask the hub for it', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    const link = join(folder.path, 'models');
    await symlink(join(folder.path, 'gone'), link);
    for (const path of [link, join(link, 'mine')]) {
      await expect(resolveModelFolder(path, 'main')).rejects.toThrow(`${link}: This link leads to nothing.`);
    }
    expect(hub.asked).toEqual([]);
  });

  it('fetches again what was cleaned out of the cache under a link', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    const repository = useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    const snapshot = await resolveModelFolder('org/model', 'main');
    await rm(join(repository, 'blobs', basename(await readlink(join(snapshot, 'README.md')))));
    expect(await resolveModelFolder('org/model', 'main')).toBe(snapshot);
    expect(await readFile(join(snapshot, 'README.md'), 'utf8')).toBe('card');
  });

  it('takes a model from the cache by branch and by commit, without asking the hub', async () => {
    await using folder = await temporaryFolder();
    const repository = useCache(folder.path);
    const snapshot = await fillCache(repository, ['config.json', 'tokenizer.json', 'model.safetensors']);
    expect(await resolveModelFolder('org/model', 'main')).toBe(snapshot);
    expect(await resolveModelFolder('org/model', COMMIT)).toBe(snapshot);
  });

  it('says what the cache lacks when offline', async () => {
    await using folder = await temporaryFolder();
    const repository = useCache(folder.path, { HF_HUB_OFFLINE: '1' });
    const resolve = () => resolveModelFolder('org/model', 'main');
    await expect(resolve()).rejects.toThrow(`the hub cache ${repository} does not hold revision "main"`);
    const snapshot = await fillCache(repository, [
      'config.json',
      'model.safetensors.index.json',
      'model-1.safetensors',
    ]);
    await expect(resolve()).rejects.toThrow(
      `the hub cache ${snapshot} lacks tokenizer.json, model-2.safetensors`,
    );
    await expect(resolve()).rejects.toThrow(/HF_HUB_OFFLINE/);
    expect(await resolveModelFolder('org/model', 'main', { need: 'config' })).toBe(snapshot);
    await writeFile(join(snapshot, 'model-2.safetensors'), 'second');
    expect(await resolve()).toBe(snapshot);
  });

  it('says why the hub could not be reached', async () => {
    await using folder = await temporaryFolder();
    useCache(folder.path);
    const error = await resolveModelFolder('org/model', 'main').catch(error => error);
    expect(error).toBeInstanceOf(ModelError);
    expect(error.message).toMatch(
      /^org\/model: There is no such folder, and the download from http:.*failed \(.+\)/,
    );
  });

  it('downloads what a model needs into the layout of the cache, once', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    const repository = useCache(folder.path, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_test' });
    const snapshot = await resolveModelFolder('org/model', 'main');
    expect(snapshot).toBe(join(repository, 'snapshots', COMMIT));
    const { 'pytorch_model.bin': _, 'consolidated.safetensors': __, ...needed } = MODEL;
    expect((await readdir(snapshot)).sort()).toEqual(Object.keys(needed).sort());
    for (const [name, text] of Object.entries(needed)) {
      expect(await readFile(join(snapshot, name), 'utf8')).toBe(text);
      expect(dirname(await readlink(join(snapshot, name)))).toBe('../../blobs');
    }
    expect(await readFile(join(repository, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(await readdir(join(repository, 'blobs'))).toContain(
      createHash('sha256').update('second').digest('hex'),
    );
    expect([...hub.authorizations]).toEqual(['Bearer hf_test']);
    const requests = hub.asked.length;
    expect(await resolveModelFolder('org/model', 'main')).toBe(snapshot);
    expect(hub.asked).toHaveLength(requests);
  });

  it('removes what killed downloads have left, and nothing that is still written', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    const blobs = join(useCache(folder.path, { HF_ENDPOINT: hub.endpoint }), 'blobs');
    await mkdir(blobs, { recursive: true });
    const [abandoned, living] = ['.tmp-abc-1234', '.tmp-abc-5678'].map(name => join(blobs, name));
    const secondsAgo = Date.now() / 1000 - 5;
    for (const file of [abandoned!, living!]) {
      await writeFile(file, 'half');
      await utimes(file, secondsAgo, secondsAgo);
    }
    await using handle = await open(living!, 'r+');
    expect(lockFile(handle.fd)).toBe('held');
    await resolveModelFolder('org/model', 'main');
    const left = (await readdir(blobs)).filter(name => name.startsWith('.tmp-'));
    expect(left).toEqual(['.tmp-abc-5678']);
  });

  it('fetches only what an earlier download did not reach', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    const repository = useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    const snapshot = await resolveModelFolder('org/model', 'main', { need: 'config' });
    expect((await readdir(snapshot)).filter(name => name.endsWith('.safetensors'))).toEqual([]);
    await rm(join(repository, 'refs'), { recursive: true });
    hub.asked.length = 0;
    await resolveModelFolder('org/model', 'main');
    const fetched = new Set(
      hub.asked.filter(path => path.includes('/resolve/')).map(path => path.split('/').at(-1)),
    );
    expect(fetched).toEqual(new Set(['model-1.safetensors', 'model-2.safetensors']));
  });

  it.each([
    [
      'a download that is cut short',
      { ...MODEL, 'model-2.safetensors': 'secondCUT' },
      /model-2\.safetensors ended after 2 of 9 bytes/,
    ],
    [
      'weights of another format only',
      { 'config.json': '{}', 'pytorch_model.bin': 'x' },
      /^org\/model: The weights are pickles of PyTorch/,
    ],
  ])('refuses %s', async (_, files, says) => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(files);
    const repository = useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    await expect(resolveModelFolder('org/model', 'main')).rejects.toThrow(says);
    expect(await readdir(repository)).not.toContain('refs');
    expect((await readdir(join(repository, 'blobs'))).filter(name => name.startsWith('.'))).toEqual([]);
  });

  it('tells a wrong name from a missing token', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(MODEL);
    useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    await expect(resolveModelFolder('org/other', 'main')).rejects.toThrow(
      /Check the name, and that revision "main"/,
    );
    await expect(resolveModelFolder('org/private', 'main')).rejects.toThrow(/Set HF_TOKEN/);
  });
});
