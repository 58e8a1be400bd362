// Keys, and the list of them that `?` shows.
import { useEffect, useRef } from '../preact.js';

const groups = new Map();
const TYPING = 'input:not([type=checkbox]):not([type=range]):not([type=radio]), select, textarea, [contenteditable]';

/**
 * Makes keys work while the component is shown. Text fields keep theirs, and so does every key that a modifier holds.
 *
 * title: what the list says above them. keys: [{keys: ['ArrowRight'], says: 'next member', run(event)}]; `keys` are
 * KeyboardEvent.key values. A key that `run` returns false for goes on to the browser.
 */
export function useKeys(title, keys) {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const pressed = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.(TYPING) || event.target.closest?.('dialog[open]')) return;
      const found = current.current.find((entry) => entry.keys.includes(event.key));
      if (found && found.run(event) !== false) event.preventDefault();
    };
    groups.set(title, current);
    addEventListener('keydown', pressed);
    return () => {
      groups.delete(title);
      removeEventListener('keydown', pressed);
    };
  }, [title]);
}

/** What is in force now: [[title, [{keys, says}]]]. */
export const keysInForce = () => [...groups].map(([title, current]) => [title, current.current]);
