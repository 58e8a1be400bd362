// What is shown in place of a view: it is loading, it can't be had, there is nothing.
import { html, useEffect, useState } from '../preact.js';

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
