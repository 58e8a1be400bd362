// The trials put aside to be compared, per study and tab.
import { useEffect, useState } from '../preact.js';

const listeners = new Set();
const key = (study) => `pixelfront.compare.${study}`;

function basket(study) {
  try {
    return JSON.parse(sessionStorage.getItem(key(study)) ?? '[]').filter(Number.isInteger);
  } catch {
    return [];
  }
}

function setBasket(study, numbers) {
  sessionStorage.setItem(key(study), JSON.stringify(numbers));
  for (const listener of listeners) listener();
}

/** The study's basket and what changes it: `[numbers, toggle(number), set(numbers)]`; the oldest goes beyond `limit`. */
export function useBasket(study, limit = 4) {
  const [numbers, setNumbers] = useState(() => basket(study));
  useEffect(() => {
    const read = () => setNumbers(basket(study));
    read();
    listeners.add(read);
    return () => listeners.delete(read);
  }, [study]);
  const set = (chosen) => setBasket(study, chosen);
  const toggle = (number) => {
    const now = basket(study);
    set(now.includes(number) ? now.filter((other) => other !== number) : [...now, number].slice(-limit));
  };
  return [numbers, toggle, set];
}
