// Pictures that are looked at together: one place and magnification for all, by wheel, drag, pinch and keys.
//
// A picture is {url, width, height}; those of other sizes (a network's input) are shown at the size of the largest.
// A view is {x, y, zoom}: the middle in fractions of the picture, and screen pixels per pixel of the largest
// picture; zoom null means that the whole picture fits.

import { html, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../preact.js';

export const WHOLE = { x: 0.5, y: 0.5, zoom: null };
const LEAST = 0.05;
const MOST = 32;
const PAN = 60; // screen pixels a press of an arrow

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The view of all stages; `onSettled` is told a while after it last changed. */
export function useView(start, size, onSettled) {
  const [shown, setShown] = useState(start);
  const current = useRef(start);
  const stages = useRef(new Set());
  const frame = useRef(0);
  const settled = useRef(0);
  const told = useRef(onSettled);
  told.current = onSettled;

  const draw = useCallback(() => {
    frame.current = 0;
    for (const stage of stages.current) place(stage, current.current, size);
    setShown(current.current);
  }, [size.width, size.height]);

  const set = useCallback((view) => {
    current.current = { x: clamp(view.x, 0, 1), y: clamp(view.y, 0, 1), zoom: view.zoom };
    frame.current ||= requestAnimationFrame(draw);
    clearTimeout(settled.current);
    settled.current = setTimeout(() => told.current?.(current.current), 300);
  }, [draw]);

  useEffect(() => () => {
    cancelAnimationFrame(frame.current);
    clearTimeout(settled.current);
    frame.current = 0;
  }, [draw]);

  const whole = useCallback(() => {
    const [stage] = stages.current;
    return stage ? fit(stage, size) : 1;
  }, [size.width, size.height]);
  return useMemo(() => ({ shown, current, set, size, whole, stages: stages.current }), [shown, set, whole]);
}

/** The view magnified around its middle; all of the picture, which is at zoom `whole`, where it would be smaller still. */
export function magnified(view, factor, whole) {
  const zoom = clamp((view.zoom ?? whole) * factor, Math.min(whole, LEAST), MOST);
  return zoom <= whole * 1.001 && factor < 1 ? WHOLE : { ...view, zoom };
}

const fit = (stage, size) => Math.min(stage.clientWidth / size.width, stage.clientHeight / size.height) || 1;

function place(stage, { x, y, zoom }, size) {
  const scale = zoom ?? fit(stage, size);
  const left = stage.clientWidth / 2 - x * size.width * scale;
  const top = stage.clientHeight / 2 - y * size.height * scale;
  for (const image of stage.querySelectorAll('img')) {
    image.style.width = `${size.width * scale}px`;
    image.style.height = `${size.height * scale}px`;
    image.style.transform = `translate(${left}px, ${top}px)`;
    const perPixel = (size.width * scale * devicePixelRatio) / Number(image.dataset.width);
    image.style.imageRendering = perPixel > 1.01 ? 'pixelated' : 'auto';
  }
  stage.style.touchAction = zoom === null ? 'pan-y' : 'none'; // a finger on a whole picture scrolls the page
}

/** A box with pictures in one place: pass <Picture>s as children. */
export function Stage({ view, label, children, ...rest }) {
  const box = useRef(null);
  useLayoutEffect(() => {
    const stage = box.current;
    view.stages.add(stage);
    const resized = new ResizeObserver(() => place(stage, view.current.current, view.size));
    resized.observe(stage);
    const stop = listen(stage, view);
    return () => {
      view.stages.delete(stage);
      resized.disconnect();
      stop();
    };
  }, [view.set, view.size.width, view.size.height]);
  useLayoutEffect(() => place(box.current, view.current.current, view.size));
  return html`<div class="look-stage" ref=${box} tabindex="0" role="group" aria-label=${label}
    aria-roledescription="picture that zooms" style=${{ aspectRatio: `${view.size.width} / ${view.size.height}` }}
    ...${rest}>${children}</div>`;
}

export function Picture({ picture, alt, hidden = false }) {
  return html`<img src=${picture.url} alt=${alt} data-width=${picture.width} hidden=${hidden} draggable=${false}
    decoding="async" />`;
}

/** Pointer, wheel and keys of a stage; returns what ends them. */
function listen(stage, view) {
  const scaleNow = () => view.current.current.zoom ?? fit(stage, view.size);
  const move = (dx, dy) => {
    const scale = scaleNow();
    const { x, y, zoom } = view.current.current;
    view.set({ x: x - dx / (view.size.width * scale), y: y - dy / (view.size.height * scale), zoom });
  };
  /** Magnifies around a point of the stage, which stays where it is. */
  const magnify = (factor, at = null) => {
    const scale = scaleNow();
    const { x, y, zoom: next } = magnified(view.current.current, factor, fit(stage, view.size));
    if (next === null) return view.set(WHOLE);
    const box = stage.getBoundingClientRect();
    const [px, py] = at ? [at.x - box.left - box.width / 2, at.y - box.top - box.height / 2] : [0, 0];
    const shift = (p, side) => (p / side) * (1 / scale - 1 / next);
    return view.set({ x: x + shift(px, view.size.width), y: y + shift(py, view.size.height), zoom: next });
  };
  const wheel = (event) => {
    if (event.deltaY > 0 && view.current.current.zoom === null) return; // the page scrolls on
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    magnify(Math.exp(-clamp(event.deltaY * lines, -120, 120) / 300), { x: event.clientX, y: event.clientY });
  };
  const key = (event) => {
    if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = {
      "+": () => magnify(1.5), "=": () => magnify(1.5), "-": () => magnify(1 / 1.5), "_": () => magnify(1 / 1.5),
      0: () => view.set(WHOLE), 1: () => view.set({ ...view.current.current, zoom: 1 / devicePixelRatio }),
      ArrowLeft: () => move(PAN, 0), ArrowRight: () => move(-PAN, 0),
      ArrowUp: () => move(0, PAN), ArrowDown: () => move(0, -PAN),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  const stopPointers = pointers(stage, move, magnify);
  const twice = (event) => magnify(2, { x: event.clientX, y: event.clientY });
  const all = [['keydown', key], ['dblclick', twice], ['wheel', wheel]];
  all.forEach(([name, on]) => stage.addEventListener(name, on, { passive: false }));
  return () => {
    stopPointers();
    all.forEach(([name, on]) => stage.removeEventListener(name, on));
  };
}

/** One finger or the mouse drags, two fingers pinch. */
function pointers(stage, move, magnify) {
  const down = new Map();
  const middle = (points) => ({
    x: points.reduce((sum, p) => sum + p.x, 0) / points.length,
    y: points.reduce((sum, p) => sum + p.y, 0) / points.length,
  });
  const spread = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
  const on = {
    pointerdown(event) {
      if (event.button || event.target.closest('[role=slider]')) return;
      stage.setPointerCapture(event.pointerId);
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    },
    pointermove(event) {
      if (!down.has(event.pointerId)) return;
      const before = [...down.values()];
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const after = [...down.values()];
      const [from, to] = [middle(before), middle(after)];
      move(to.x - from.x, to.y - from.y);
      if (after.length === 2 && spread(before) > 0) magnify(spread(after) / spread(before), to);
    },
    pointerup: (event) => down.delete(event.pointerId),
    pointercancel: (event) => down.delete(event.pointerId),
  };
  Object.entries(on).forEach(([name, f]) => stage.addEventListener(name, f));
  return () => Object.entries(on).forEach(([name, f]) => stage.removeEventListener(name, f));
}

/** Two panes in one box with a divider that moves by drag and by keys: `before` at its left, `after` at its right. */
export function Slider({ view, before, after, at, onMove, label }) {
  const drag = useRef(false);
  const frame = useRef(null);
  const moveTo = (event) => {
    const box = frame.current.getBoundingClientRect();
    onMove(clamp(((event.clientX - box.left) / box.width) * 100, 0, 100));
  };
  const key = (event) => {
    const step = event.shiftKey ? 10 : 2;
    const next = {
      ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
      PageDown: at - 10, PageUp: at + 10, Home: 0, End: 100,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    onMove(clamp(next, 0, 100));
  };
  return html`<div class="look-slider" ref=${frame}>
    <${Stage} view=${view} label=${label} data-testid="slider-stage">
      <${Picture} picture=${before.image} alt=${before.name} />
      <div class="look-over" style=${{ clipPath: `inset(0 0 0 ${at}%)` }}>
        <${Picture} picture=${after.image} alt=${after.name} />
      </div>
    <//>
    <div class="look-divider" style=${{ left: `${at}%` }} role="slider" tabindex="0" data-testid="slider"
      aria-label=${`Divider: ${before.name} at the left, ${after.name} at the right`}
      aria-orientation="horizontal" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(at)}
      aria-valuetext=${`${Math.round(at)} % ${before.name}`} onKeyDown=${key}
      onPointerDown=${(event) => {
        drag.current = true;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove=${(event) => drag.current && moveTo(event)}
      onPointerUp=${() => { drag.current = false; }} onPointerCancel=${() => { drag.current = false; }}
      ><span class="look-grip" aria-hidden="true"></span></div>
  </div>`;
}
