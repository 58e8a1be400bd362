// What is shown in place of a view: it is loading, it can't be had, there is nothing; and what keeps a view up to date.
import { html, useEffect, useState } from '../preact.js';
import { get } from '../api.js';

/** Says what is loading, but only when that takes long enough to be noticed. */
export function Loading({ what }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return html`<p class="state" role="status">${late ? `Loading ${what} …` : ''}</p>`;
}

export const Fault = ({ problem }) => html`<div class="state fault" role="alert" data-testid="fault">
  <h2>That didn’t work</h2><p>${problem.message}</p><p><a href="#/">All studies</a></p></div>`;

export const Empty = ({ title, children }) => html`<div class="state empty" data-testid="empty">
  <h2>${title}</h2>${children}</div>`;

/** Draws a component again on a store's events of these kinds. */
export function useStore(store, kinds) {
  const [, again] = useState(0);
  useEffect(() => store.subscribe(({ kind }) => kinds.includes(kind) && again((n) => n + 1)), [store]);
}

/**
 * What an address answers: {answer, problem}. It is asked again after the store's events that `again(event)` is true
 * for, at most every `ms`; an answer stays beside a later problem. A null address isn't asked.
 */
export function useAnswer(address, store, again, ms) {
  const [state, setState] = useState({});
  useEffect(() => {
    if (!address) return undefined;
    const abort = new AbortController();
    let timer = null;
    const ask = () => {
      timer = null;
      get(address, abort).then((answer) => setState({ address, answer }), (problem) => problem.name !== 'AbortError'
        && setState((known) => ({ ...(known.address === address && known), address, problem })));
    };
    ask();
    const stop = store.subscribe((event) => {
      if (again(event)) timer ??= setTimeout(ask, ms);
    });
    return () => {
      stop();
      abort.abort();
      clearTimeout(timer);
    };
  }, [address, store]);
  return state.address === address ? state : {};
}
