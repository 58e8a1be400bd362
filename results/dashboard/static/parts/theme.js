// Dark and light, and the page's colours as values for what draws on a canvas.

const KEY = 'pixelfront.theme';
const ORDER = ['auto', 'light', 'dark'];
const listeners = new Set();
const system = matchMedia('(prefers-color-scheme: dark)');
const motion = matchMedia('(prefers-reduced-motion: reduce)');
let known = null;

export const calm = () => motion.matches;
export const themeName = () => localStorage.getItem(KEY) ?? 'auto';

export function applyTheme(name = themeName()) {
  localStorage.setItem(KEY, name);
  if (name === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  changed();
}

export const nextTheme = () => ORDER[(ORDER.indexOf(themeName()) + 1) % ORDER.length];

function changed() {
  known = null;
  for (const listener of listeners) listener();
}

system.addEventListener('change', changed);

/** Calls `listener` whenever the colours change; returns what stops it. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const NAMES = [
  'background', 'panel', 'raised', 'text', 'muted', 'faint', 'line', 'grid', 'accent', 'good', 'bad', 'warn',
  'budget', 'search', 'prune', 'finetune', 'distil', 'published', 'low', 'middle', 'high',
];

/** The theme's colours by name, as `rgb()` texts. */
export function colours() {
  if (known) return known;
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  known = Object.fromEntries(NAMES.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  }));
  probe.remove();
  return known;
}

/** A colour of `colours()` with another opacity. */
export const alpha = (colour, opacity) => {
  const [r, g, b] = colour.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${opacity})`;
};
