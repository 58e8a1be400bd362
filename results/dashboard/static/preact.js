// Preact, its hooks and htm from one place: `html` is what JSX would be, without a build step.
import { h } from './vendor/preact.js';
import htm from './vendor/htm.js';

export { Fragment, render } from './vendor/preact.js';
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';
export const html = htm.bind(h);
