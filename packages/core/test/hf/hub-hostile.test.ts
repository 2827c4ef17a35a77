/** A hub that lies: nothing is written outside the cache, wrong content is not used, and the token stays with the hub. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { withoutSecrets } from '../../src/config/secrets.js';
import { ModelError } from '../../src/errors.js';
import { resolveModelFolder } from '../../src/hf/resolve.js';
import { temporaryFolder } from '../support.js';
import { COMMIT, listed, MODEL, startHub, useCache } from './hub-server.js';

const TOKEN = 'hf_secretsecret';
const TREE = `/api/models/org/model/tree/${COMMIT}`;

afterEach(() => vi.unstubAllEnvs());

/** Answers requests whose path begins with `path`. */
const at =
  (path: string, respond: (response: ServerResponse, request: IncomingMessage) => void) =>
  (request: IncomingMessage, response: ServerResponse): boolean => {
    if (!request.url!.startsWith(path)) return false;
    respond(response, request);
    return true;
  };

const json = (response: ServerResponse, value: unknown): void => {
  response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value));
};

/** What downloading from such a hub says, and every file that it leaves. */
async function download(
  files: Readonly<Record<string, string>>,
  answer?: Parameters<typeof startHub>[1],
): Promise<{ message: string; left: string[]; blobs: string[] }> {
  await using folder = await temporaryFolder();
  await using hub = await startHub(files, answer);
  const inner = join(folder.path, 'a', 'b', 'c', 'd');
  await mkdir(inner, { recursive: true });
  const repository = useCache(inner, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN });
  const error = await resolveModelFolder('org/model', 'main').catch(error => error);
  expect(error).toBeInstanceOf(ModelError);
  expect(`${error.message}${error.stack}${error.cause}`).not.toContain(TOKEN);
  const outside = (await readdir(folder.path, { recursive: true, withFileTypes: true })).filter(
    entry => entry.isFile() && !join(entry.parentPath, entry.name).startsWith(repository),
  );
  const blobs = await readdir(join(repository, 'blobs')).catch(() => []);
  return { message: error.message, left: outside.map(({ name }) => name), blobs };
}

describe('names that the hub gives', () => {
  const entries = Object.entries(MODEL).map(([path, text]) => listed(path, text));
  const withEntry = (change: object) =>
    at(TREE, response =>
      json(
        response,
        entries.map(entry => (entry.path === 'config.json' ? { ...entry, ...change } : entry)),
      ),
    );
  const evil = '../../../../evil';

  it.each([
    ['the hash of a file', withEntry({ oid: evil }), /gives "\.\.\/.*" as the hash of config\.json/],
    ['no hash', withEntry({ oid: undefined }), /as the hash of config\.json/],
    ['the hash of a large file', withEntry({ lfs: { oid: evil, size: 2, pointerSize: 1 } }), /as the hash/],
    [
      'the commit',
      at('/api/models/org/model/revision/main', response => json(response, { id: 'org/model', sha: evil })),
      /gives "\.\.\/.*" as the commit/,
    ],
  ])('as %s lead nowhere', async (_, answer, message) => {
    const result = await download(MODEL, answer);
    expect(result.message).toMatch(message);
    expect(result.left).toEqual([]);
  });

  it.each(['../../x', 'a/../b', '/etc', '.git', 'a//b', 'a b', 'a\\b', 'main/', ''])(
    'revisions such as %j are refused',
    async revision => {
      await using folder = await temporaryFolder();
      useCache(folder.path);
      await expect(resolveModelFolder('org/model', revision)).rejects.toThrow(
        /field "model\.revision": .* is not the name of a branch/,
      );
    },
  );

  it('revisions may have folders', async () => {
    await using folder = await temporaryFolder();
    await using hub = await startHub(
      MODEL,
      at('/api/models/org/model/revision/refs%2Fpr%2F1', response =>
        json(response, { id: 'org/model', sha: COMMIT }),
      ),
    );
    const repository = useCache(folder.path, { HF_ENDPOINT: hub.endpoint });
    await resolveModelFolder('org/model', 'refs/pr/1');
    expect(await readFile(join(repository, 'refs/refs/pr/1'), 'utf8')).toBe(COMMIT);
  });
});

describe('content of the right size', () => {
  it.each([
    ['model-2.safetensors', 'sha256'],
    ['tokenizer.json', 'git'],
  ])('that is not that of %s (%s) is not used', async name => {
    const text = MODEL[name as keyof typeof MODEL];
    const tree = Object.entries(MODEL).map(([path, content]) => listed(path, content));
    const { message, blobs } = await download(
      { ...MODEL, [name]: text.replace(/./, '?') },
      at(TREE, response => json(response, tree)),
    );
    const { oid, lfs } = listed(name, text);
    const hash = name.endsWith('.safetensors') ? lfs!.oid : oid;
    expect(message).toMatch(new RegExp(`${name} came with the hash \\w+, not ${hash}`));
    expect(blobs).not.toContain(hash);
    expect(blobs.filter(blob => blob.startsWith('.'))).toEqual([]);
  });
});

describe('the list of files', () => {
  const page = (response: ServerResponse, next: string): void => {
    response.setHeader('Link', `<${next}>; rel="next"`);
    json(response, []);
  };

  it('that links to itself is an error', async () => {
    const self = at(TREE, (response, { headers, url }) => page(response, `http://${headers.host}${url}`));
    expect((await download(MODEL, self)).message).toContain('the list of files does not end');
  });

  it('that always has a next page is an error', async () => {
    let pages = 0;
    const endless = at(TREE, (response, { headers }) =>
      page(response, `http://${headers.host}${TREE}?page=${++pages}`),
    );
    expect((await download(MODEL, endless)).message).toContain('the list of files does not end');
    expect(pages).toBe(100);
  });

  it('goes on at another host without the token', async () => {
    await using folder = await temporaryFolder();
    await using other = await startHub(MODEL);
    await using hub = await startHub(
      MODEL,
      at(TREE, response => page(response, `${other.endpoint}${TREE}`)),
    );
    useCache(folder.path, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN });
    await resolveModelFolder('org/model', 'main');
    expect([...other.authorizations]).toEqual([undefined]);
    expect([...hub.authorizations]).toEqual([`Bearer ${TOKEN}`]);
  });
});

describe('the token', () => {
  it('does not follow a redirect to another host', async () => {
    await using folder = await temporaryFolder();
    await using other = await startHub(MODEL);
    const redirect = (request: IncomingMessage, response: ServerResponse): boolean => {
      if (!request.url!.includes('/resolve/')) return false;
      response.writeHead(302, { Location: other.endpoint + request.url }).end();
      return true;
    };
    await using hub = await startHub(MODEL, redirect);
    useCache(folder.path, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN });
    await resolveModelFolder('org/model', 'main');
    expect(other.asked.length).toBeGreaterThan(0);
    expect([...other.authorizations]).toEqual([undefined]);
  });

  it('is in no message, though the hub repeats what it was sent', async () => {
    const echo = at('/api/', (response, { headers }) => {
      response.statusCode = 403;
      json(response, { error: `refused: authorization: ${headers.authorization}` });
    });
    const { message } = await download(MODEL, echo);
    expect(message).toContain('refused: authorization: Bearer ***');
  });

  it.each(['http://user:secret@127.0.0.1:9', 'ftp://host', 'huggingface'])(
    'or password in HF_ENDPOINT=%s is not printed',
    async endpoint => {
      await using folder = await temporaryFolder();
      useCache(folder.path, { HF_ENDPOINT: endpoint });
      const error = await resolveModelFolder('org/model', 'main').catch(error => error);
      expect(error).toBeInstanceOf(ModelError);
      expect(error.message).toMatch(/^HF_ENDPOINT is .*Expected an address/);
      expect(error.message).not.toContain('secret');
    },
  );

  it('is taken out of any text', () => {
    vi.stubEnv('HF_TOKEN', 'token.of+mine');
    expect(withoutSecrets('a token.of+mine b https://u:p@host/x?y@z hf_abcdefghij')).toBe(
      'a *** b https://***@host/x?y@z hf_***',
    );
  });
});
