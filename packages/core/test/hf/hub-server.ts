/** A hub for tests, and a cache of their own. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { vi } from 'vitest';

export const COMMIT = 'a'.repeat(40);
const INDEX = JSON.stringify({ weight_map: { v: 'model-1.safetensors', w: 'model-2.safetensors' } });

/** A hub that has one model, `org/model`, and keeps what it was asked for. @param answer answers instead, where it gives true */
export async function startHub(
  files: Readonly<Record<string, string>>,
  answer: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
) {
  const asked: string[] = [];
  const authorizations = new Set<string | undefined>();
  const server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    asked.push(path);
    authorizations.add(request.headers.authorization);
    if (answer(request, response)) return undefined;
    const json = (value: unknown): void => {
      response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value));
    };
    const name = path.slice(`/org/model/resolve/${COMMIT}/`.length);
    const content = files[name];
    if (path === '/api/models/org/model/revision/main') return json({ id: 'org/model', sha: COMMIT });
    if (path === `/api/models/org/model/tree/${COMMIT}`) {
      const folder = { type: 'directory', path: 'onnx', size: 0, oid: 'd'.repeat(40) };
      return json([folder, ...Object.entries(files).map(([path, text]) => listed(path, text))]);
    }
    if (!path.startsWith('/org/model/resolve/') || content === undefined) {
      response.statusCode = path.includes('/org/private') ? 401 : 404;
      return json({ error: 'Repository not found' });
    }
    response.setHeader('ETag', '"x"');
    if (request.headers.range === 'bytes=0-0') {
      response.statusCode = 206;
      response.setHeader('Content-Range', `bytes 0-0/${content.length}`);
      return response.end(content.slice(0, 1));
    }
    // A hub that hangs up in the middle.
    return response.end(content.endsWith('CUT') ? content.slice(0, 2) : content);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { endpoint, asked, authorizations, [Symbol.asyncDispose]: async () => void server.close() };
}

export function listed(path: string, text: string) {
  const oid = createHash('sha1').update(`blob ${text.length}\0${text}`).digest('hex');
  const lfs = { oid: createHash('sha256').update(text).digest('hex'), size: text.length, pointerSize: 130 };
  return { type: 'file', path, oid, size: text.length, ...(path.endsWith('.safetensors') && { lfs }) };
}

export const MODEL = {
  'config.json': '{}',
  'tokenizer.json': '{"a": 1}',
  'README.md': 'card',
  'pytorch_model.bin': 'pickle',
  'consolidated.safetensors': 'the same weights again',
  'model.safetensors.index.json': INDEX,
  'model-1.safetensors': 'first',
  'model-2.safetensors': 'second',
};

export function useCache(folder: string, more: Record<string, string> = {}): string {
  const cache = join(folder, 'hub');
  vi.stubEnv('HF_HUB_CACHE', cache);
  vi.stubEnv('HF_HUB_OFFLINE', '');
  vi.stubEnv('HF_TOKEN', '');
  // Nothing listens there: a test that reaches it fails.
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
  for (const [name, value] of Object.entries(more)) vi.stubEnv(name, value);
  return join(cache, 'models--org--model');
}
