// The JSON API: addresses, errors in the server's own words, the token, server-sent events.

const TOKEN = 'pixelfront.token';
const AGAIN_MS = 2000;

/** An answer that isn't one: `message` is the server's sentence, `code` its name, `status` 0 where none came. */
export class Problem extends Error {
  constructor(status, code, message, details = null) {
    super(message);
    Object.assign(this, { status, code, details });
  }
}

/** Keeps the token that the page's address brought (`?token=`) for this tab and takes it out of the address. */
export function keepToken() {
  const address = new URL(location.href);
  const token = address.searchParams.get('token');
  if (token === null) return;
  sessionStorage.setItem(TOKEN, token);
  address.searchParams.delete('token');
  history.replaceState(null, '', address);
}

/** `?name=value&...`, or nothing; empty and null values are left out. */
export function queryText(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(given).toString();
  return text ? `?${text}` : '';
}

/** The address of an endpoint: `path('studies', name, 'front', {x: 'macs'})`. */
export function path(...parts) {
  const query = typeof parts.at(-1) === 'object' ? parts.pop() : {};
  return `/api/v1/${parts.map(encodeURIComponent).join('/')}${queryText(query)}`;
}

async function answer(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'unreachable', 'The dashboard\'s server does not answer: start it again, then reload.');
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  const said = body?.error ?? {};
  const message = said.message ?? `The server answered ${response.status} without saying why.`;
  throw new Problem(response.status, said.code ?? 'unknown', message, said.details);
}

const early = new Map();

/** Asks now what `get` will be asked for soon; the answer is given once. */
export function ahead(address) {
  const coming = answer(address, {});
  coming.catch(() => {}); // whoever gets it hears of it
  early.set(address, coming);
}

export function get(address, { signal } = {}) {
  const coming = early.get(address);
  early.delete(address);
  return coming ?? answer(address, { signal, headers: { Accept: 'application/json' } });
}

/** Sends JSON, or a File or Blob as it is. */
export function post(address, body, { signal } = {}) {
  const raw = body instanceof Blob;
  const headers = { Accept: 'application/json', 'Content-Type': raw ? body.type : 'application/json' };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  return answer(address, { signal, method: 'POST', headers, body: raw ? body : JSON.stringify(body) });
}

/** Listens to a study's events until `close()`; `on.connection` hears 'live' and 'lost'. */
export function listen(study, on) {
  let source = null;
  let timer = null;
  const open = () => {
    source = new EventSource(path('studies', study, 'events'));
    for (const kind of ['changed', 'progress']) {
      source.addEventListener(kind, (event) => on[kind](JSON.parse(event.data)));
    }
    source.onopen = () => on.connection('live');
    source.onerror = () => {
      on.connection('lost');
      // Where the server refuses (its data base may be away) a browser gives up.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    };
  };
  open();
  return {
    close() {
      clearTimeout(timer);
      source.close();
    },
  };
}
