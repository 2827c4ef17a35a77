/** Requests to the hub, whose answers are not trusted with the user's token: where it goes, and where a list ends. */
import { environment } from '../config/env.js';
import { withoutSecrets } from '../config/secrets.js';
import { ModelError } from '../errors.js';

/** A thousand files each, on the hub. */
const MAX_PAGES = 100;

/** What the functions of @huggingface/hub take. */
export interface HubAccess {
  readonly hubUrl: string;
  readonly accessToken?: string;
  readonly fetch: typeof fetch;
}

/**
 * Access to the hub of HF_ENDPOINT with HF_TOKEN.
 *
 * @throws ModelError when HF_ENDPOINT is no address, or holds credentials
 */
export function hubAccess(): HubAccess {
  const { hfEndpoint, hfToken } = environment();
  const url = URL.canParse(hfEndpoint) ? new URL(hfEndpoint) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new ModelError(`HF_ENDPOINT is ${withoutSecrets(hfEndpoint)}.`, {
      hint: 'Expected an address such as https://huggingface.co, without a user name and password.',
    });
  }
  return {
    hubUrl: hfEndpoint.replace(/\/+$/, ''),
    ...(hfToken !== undefined && { accessToken: hfToken }),
    fetch: guardedFetch(url.origin, hfToken),
  };
}

/**
 * The token is sent to the hub and to nobody whom the hub names, in the link to a next page, a redirect (from which
 * `fetch` removes it itself) or the address of a file; and no list of files goes on for ever.
 */
function guardedFetch(origin: string, token: string | undefined): typeof fetch {
  const pages = new Set<string>();
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (/\/api\/(models|datasets)\/[^/]+(\/[^/]+)?\/tree\//.test(url.pathname)) {
      if (pages.has(url.href) || pages.size === MAX_PAGES) throw new Error('the list of files does not end');
      pages.add(url.href);
    }
    if (url.origin === origin || token === undefined) return fetch(input, init);
    const headers = new Headers(init?.headers);
    for (const [name, value] of [...headers]) if (value.includes(token)) headers.delete(name);
    return fetch(input, { ...init, headers });
  };
}
