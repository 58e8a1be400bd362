// The page's addresses: `#/s/NAME/VIEW/ARG?QUERY` and back.
import { queryText } from '../api.js';

/** The address of a study's view. */
export function href(study, view, { arg = null, query = {} } = {}) {
  const place = ['s', study, view, ...(arg === null ? [] : [arg])].map(encodeURIComponent).join('/');
  return `#/${place}${readable(query)}`;
}

export function go(address) {
  location.hash = address;
}

/** What an address means: {study, view, arg, query, setQuery}; study is null for the list of studies. */
export function parse(hash) {
  const [place, search = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [kind, study, view, arg] = place.split('/').map(decode);
  const query = Object.fromEntries(new URLSearchParams(search));
  if (kind !== 's' || !study) return { study: null, view: 'studies', arg: null, query, setQuery };
  return { study, view: view || 'front', arg: arg || null, query, setQuery };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Colons and commas stay readable: they mean nothing in a fragment.
const readable = (query) => queryText(query).replaceAll('%3A', ':').replaceAll('%2C', ',');

function setQuery(patch) {
  const { query } = parse(location.hash);
  const address = `${location.hash.split('?')[0]}${readable({ ...query, ...patch })}`;
  if (address === location.hash) return;
  history.replaceState(null, '', address);
  dispatchEvent(new HashChangeEvent('hashchange'));
}
