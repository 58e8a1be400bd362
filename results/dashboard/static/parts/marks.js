// The stages' marks: the same shape on the chart's canvas, in its legend and in tables.
import { html } from '../preact.js';

export const STAGES = ['search', 'prune', 'finetune', 'distil', 'published'];

export const SYMBOLS = {
  search: 'circle',
  prune: 'triangle',
  finetune: 'rect',
  distil: 'diamond',
  published: 'path://M0,-10L2.9,-3.5L9.9,-3.1L4.5,1.4L6.2,8.1L0,4.4L-6.2,8.1L-4.5,1.4L-9.9,-3.1L-2.9,-3.5Z',
};

const PATHS = {
  search: 'M4 0A4 4 0 1 1 -4 0A4 4 0 1 1 4 0Z',
  prune: 'M0 -4.6L4.6 3.8L-4.6 3.8Z',
  finetune: 'M-3.8 -3.8H3.8V3.8H-3.8Z',
  distil: 'M0 -5L5 0L0 5L-5 0Z',
  published: 'M0,-6L1.74,-2.1L5.94,-1.86L2.7,.84L3.72,4.86L0,2.64L-3.72,4.86L-2.7,.84L-5.94,-1.86L-1.74,-2.1Z',
};

/** A stage's mark as an SVG path around (0, 0). */
export const markPath = (stage) => PATHS[stage] ?? PATHS.search;

export const Glyph = ({ stage }) => html`<svg class=${`glyph stage ${stage}`} viewBox="-7 -7 14 14" width="14" height="14"
  aria-hidden="true"><path d=${markPath(stage)} fill="currentColor" /></svg>`;
