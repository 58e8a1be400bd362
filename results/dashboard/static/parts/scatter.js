// The front's chart. ECharts draws the axes and the cloud of trials on a canvas; what is small and changes often (the
// front, lines, lineage, what is pointed at, what has just arrived) is SVG above it, so that the cloud stays as it is.
import { Fragment, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../preact.js';
import { Chart, axis } from '../chart.js';
import { alpha, colours, onTheme } from './theme.js';
import { EarlyMarks } from './early.js';
import { heading } from './format.js';
import { STAGES, SYMBOLS, markPath } from './marks.js';
import { Scale, tickText } from './scale.js';

const REACH = 14; // pixels within which a trial is pointed at
const MANY = 5000; // trials from which arrivals are drawn above the cloud, which is drawn again less often
const KEPT = 400; // arrivals before it is
const GRID = { left: 66, right: 18, top: 14, bottom: 48 };

/**
 * x, y: {column, at: Float64Array of values as shown by row, scale: Scale of all, lines: [{value, text, kind}]}
 * front: [{row, x, y}] by rising x, values as shown; corner: the hypervolume's reference {x, y} or null
 * early: [{number, row, x, y, member}] of networks that aren't trained to the end.
 * inside(row): whether the filters let it through. stars: [{x, y, name}], y null for a cost alone.
 * intervals: [{x, low, high, mean}]. zoom: [x0, x1, y0, y1] or null. wheel: whether the wheel zooms.
 */
export function Scatter({ store, x, y, front, early, corner, inside, filterKey, stars, intervals, zoom, setZoom, selected,
  onSelect, onOpen, onDrawn, label, tip }) {
  const box = useRef(null);
  const size = useSize(box);
  const [view, setView] = useView(zoom, setZoom);
  const [hover, setHover] = useState(null);
  const [drag, setDrag] = useState(null);
  const [hint, setHint] = useState(false);
  const { cloud, arrivals } = useCloud(store);
  const theme = useThemeVersion();

  const sx = view ? new Scale(view[0], view[1], x.scale.log) : x.scale;
  const sy = view ? new Scale(view[2], view[3], y.scale.log) : y.scale;
  const area = { left: GRID.left, top: GRID.top, width: Math.max(10, size.width - GRID.left - GRID.right),
    height: Math.max(10, size.height - GRID.top - GRID.bottom) };
  const px = (value) => area.left + sx.share(value) * area.width;
  const py = (value) => area.top + (1 - sy.share(value)) * area.height;

  const series = useMemo(() => cloudSeries(store.points, x, y, inside), [cloud, x.column, y.column, x.scale.log, y.scale.log,
    filterKey, theme]);
  const option = useMemo(() => () => ({
    animation: false,
    tooltip: { show: false },
    grid: GRID,
    xAxis: chartAxis(sx, x.column, Math.max(2, area.width / 95), 'x'),
    yAxis: chartAxis(sy, y.column, Math.max(2, area.height / 62), 'y'),
    series,
  }), [series, sx.low, sx.high, sy.low, sy.high, size.width > 0, Math.round(area.width / 60), Math.round(area.height / 60)]);

  const nearest = (at) => {
    if (at.x < area.left || at.x > area.left + area.width || at.y < area.top || at.y > area.top + area.height) return null;
    return nearestOf(at, { x, y, px, py, sx, sy, area, front: [...front, ...early], stars, inside });
  };
  const pointer = usePointer(box, { area, sx, sy, setView, setDrag, setHint, nearest, setHover, onSelect, onOpen, store });

  useLayoutEffect(() => setHover(null), [x.column, y.column, filterKey]);
  const zoomBy = (factor) => setView(zoomed(sx, sy, 0.5, 0.5, factor));
  useEffect(() => { box.current.zoomBy = zoomBy; box.current.resetZoom = () => setView(null); });

  const limit = x.lines.find((line) => line.limit)?.value;
  const over = limit === undefined ? null : Math.max(area.left, px(limit));
  const pointed = hover?.row ?? null;
  const moving = drag && Math.hypot(drag.x1 - drag.x0, drag.y1 - drag.y0) > 4;
  return html`<div ref=${box} class="canvas" tabindex="0" role="group" aria-label=${label} aria-describedby="front-how"
      data-testid="chart" ...${pointer}>
    <${Chart} option=${size.width ? option : null} label="The trials; the table below lists the front" onDrawn=${onDrawn} />
    <svg aria-hidden="true">
      <defs><clipPath id="in-plot"><rect x=${area.left} y=${area.top} width=${area.width} height=${area.height} /></clipPath>
        <clipPath id="by-plot"><rect x=${area.left - 8} y=${area.top - 8} width=${area.width + 16}
          height=${area.height + 16} /></clipPath></defs>
      ${over !== null && over < area.left + area.width && html`<rect class="over" x=${over} y=${area.top}
        width=${area.left + area.width - over} height=${area.height} />`}
      <${Lines} x=${x} y=${y} px=${px} py=${py} sx=${sx} sy=${sy} area=${area} />
      <g clip-path="url(#in-plot)">
        <${Steps} front=${front} corner=${corner} x=${x} y=${y} px=${px} py=${py} area=${area} />
        <${Bars} intervals=${intervals} px=${px} py=${py} />
      </g>
      <g clip-path="url(#by-plot)">
        <${Stars} stars=${stars} px=${px} py=${py} area=${area} named=${hover?.star} />
        <${EarlyMarks} early=${early} px=${px} py=${py} />
        ${front.map((member) => html`<${MarkAt} key=${member.number} x=${px(member.x)} y=${py(member.y)} stage=${member.stage}
          kind="member" />`)}
        <${Arrivals} rows=${arrivals} store=${store} x=${x} y=${y} px=${px} py=${py} inside=${inside} />
        ${selected !== null && html`<${Lineage} store=${store} row=${selected} x=${x} y=${y} px=${px} py=${py} kind="selected" />`}
        ${pointed !== null && pointed !== selected && html`<${Lineage} store=${store} row=${pointed} x=${x} y=${y} px=${px}
          py=${py} kind="pointed" />`}
      </g>
      ${moving && html`<rect class="box" x=${Math.min(drag.x0, drag.x1)} y=${Math.min(drag.y0, drag.y1)}
        width=${Math.abs(drag.x1 - drag.x0)} height=${Math.abs(drag.y1 - drag.y0)} />`}
    </svg>
    ${hover && !moving && html`<${Tip} at=${hover} box=${size}>${tip(hover)}</${Tip}>`}
    ${hint && html`<p class="hint" role="status">Click the chart, or hold Ctrl, to zoom with the wheel</p>`}
  </div>`;
}

function useSize(box) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const read = () => setSize({ width: box.current.clientWidth, height: box.current.clientHeight });
    read();
    const observer = new ResizeObserver(read);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return size;
}

function useThemeVersion() {
  const [version, setVersion] = useState(0);
  useEffect(() => onTheme(() => setVersion((n) => n + 1)), []);
  return version;
}

/** The part in view: at once here, in the address when it rests. */
function useView(zoom, setZoom) {
  const [view, set] = useState(zoom);
  const timer = useRef(null);
  const text = zoom?.join(':') ?? '';
  const written = useRef(text);
  useEffect(() => {
    if (text !== written.current) {
      written.current = text;
      set(zoom);
    }
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return [view, (next) => {
    set(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const rounded = next?.map((value) => Number(value.toPrecision(6))) ?? null;
      written.current = rounded?.join(':') ?? '';
      setZoom(rounded);
    }, 200);
  }];
}

/** When to draw the cloud again, and the rows that came since it was. */
function useCloud(store) {
  const [state, setState] = useState({ cloud: 0, arrivals: [] });
  useEffect(() => store.subscribe(({ kind, rows }) => {
    if (kind !== 'points') return;
    if (!rows) setState(({ cloud }) => ({ cloud: cloud + 1, arrivals: [] }));
    else setState((known) => arrived(known, rows, store.points.number.length));
  }), [store]);
  return state;
}

function arrived({ cloud, arrivals }, rows, total) {
  const now = performance.now();
  const fresh = rows.map((row) => ({ row, at: now }));
  if (total < MANY) return { cloud: cloud + 1, arrivals: fresh.slice(-50) };
  const all = [...arrivals, ...fresh];
  return all.length > KEPT ? { cloud: cloud + 1, arrivals: fresh.slice(-50) } : { cloud, arrivals: all };
}

function chartAxis(scale, column, wanted, name) {
  const theme = colours();
  const ticks = scale.ticks(wanted);
  const places = ticks.map((tick) => scale.on(tick));
  const shared = axis(theme, heading(column));
  return {
    ...shared,
    type: 'value',
    min: scale.from,
    max: scale.to,
    nameGap: name === 'x' ? 30 : 48,
    axisTick: { ...shared.axisTick, customValues: places },
    axisLabel: { ...shared.axisLabel, customValues: places,
      formatter: (place) => tickText(ticks[nearestIndex(places, place)], ticks) },
    splitLine: { ...shared.splitLine, showMinLine: false, showMaxLine: false },
  };
}

const nearestIndex = (places, place) => places.reduce(
  (best, other, at) => (Math.abs(other - place) < Math.abs(places[best] - place) ? at : best), 0);

/** The trials as series: one for each stage, and one for what the filters leave out. */
function cloudSeries(points, x, y, inside) {
  if (!points) return [];
  const theme = colours();
  const total = points.number.length;
  const places = new Map([...STAGES, 'out'].map((name) => [name, []]));
  for (let row = 0; row < total; row += 1) {
    const a = x.scale.on(x.at[row]);
    const b = y.scale.on(y.at[row]);
    if (a === a && b === b) { // neither is NaN
      const name = inside(row) ? points.stages[points.stage[row]] : 'out';
      (places.get(name) ?? places.get('search')).push(a, b);
    }
  }
  const [size, opacity] = total > 20000 ? [3, 0.35] : total > 2000 ? [4, 0.5] : [6.5, 0.78];
  return [...places].map(([name, flat]) => ({
    id: `cloud-${name}`,
    type: 'scatter',
    silent: true,
    z: name === 'out' ? 1 : 2,
    data: new Float64Array(flat),
    dimensions: ['x', 'y'],
    symbol: SYMBOLS[name] ?? 'circle',
    symbolSize: name === 'out' ? Math.min(size, 4) : name === 'search' ? size : size + 2,
    large: true,
    largeThreshold: 1500,
    itemStyle: { color: name === 'out' ? alpha(theme.faint, 0.35) : alpha(theme[name], opacity) },
  }));
}

/** What is pointed at: {row} of the nearest trial, or {star}; front members are easier to hit. */
function nearestOf(at, { x, y, px, py, sx, sy, area, front, stars, inside }) {
  let best = null;
  let least = REACH * REACH;
  const near = (value, column) => (column - value) ** 2;
  for (const member of front) {
    const far = 0.35 * (near(at.x, px(member.x)) + near(at.y, py(member.y)));
    if (far < least) [least, best] = [far, { row: member.row, x: px(member.x), y: py(member.y) }];
  }
  stars.forEach((star, index) => {
    const far = near(at.x, px(star.x)) + near(at.y, star.y === null ? area.top + area.height : py(star.y));
    if (far < least) [least, best] = [far, { star: index, x: at.x, y: at.y }];
  });
  const [a, b] = [area.width / (sx.to - sx.from), area.height / (sy.to - sy.from)];
  for (let row = 0; row < x.at.length; row += 1) {
    const dx = area.left + (sx.on(x.at[row]) - sx.from) * a - at.x;
    if (dx * dx < least) {
      const dy = area.top + area.height - (sy.on(y.at[row]) - sy.from) * b - at.y;
      const far = dx * dx + dy * dy;
      if (far < least && inside(row)) [least, best] = [far, { row, x: at.x + dx, y: at.y + dy }];
    }
  }
  return best;
}

const zoomed = (sx, sy, a, b, factor) => {
  const [h, v] = [sx.part(a - a * factor, a + (1 - a) * factor), sy.part(b - b * factor, b + (1 - b) * factor)];
  return [h.low, h.high, v.low, v.high];
};

/** Mouse, touch and wheel: point, click, drag a box, zoom about the pointer. */
function usePointer(box, parts) {
  const now = useRef(parts);
  now.current = parts;
  const start = useRef(null);
  const frame = useRef(null);
  const hint = useRef(null);
  const place = (event) => {
    const edge = box.current.getBoundingClientRect();
    return { x: event.clientX - edge.left, y: event.clientY - edge.top };
  };
  useEffect(() => {
    const wheel = (event) => {
      const { area, sx, sy, setView, setHint } = now.current;
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== box.current) {
        setHint(true);
        clearTimeout(hint.current);
        hint.current = setTimeout(() => now.current.setHint(false), 1200);
        return;
      }
      event.preventDefault();
      const at = place(event);
      const [a, b] = [(at.x - area.left) / area.width, 1 - (at.y - area.top) / area.height];
      setView(zoomed(sx, sy, a, b, Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004)));
    };
    box.current.addEventListener('wheel', wheel, { passive: false });
    return () => {
      clearTimeout(hint.current);
      cancelAnimationFrame(frame.current);
      box.current?.removeEventListener('wheel', wheel);
    };
  }, []);
  const move = (event) => {
    const at = place(event);
    if (start.current) {
      now.current.setDrag({ ...start.current, x1: at.x, y1: at.y });
      return;
    }
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => now.current.setHover(now.current.nearest(at)));
  };
  const up = (event) => {
    const { area, sx, sy, setView, setDrag, nearest, onSelect, store } = now.current;
    const from = start.current;
    start.current = null;
    setDrag(null);
    if (!from) return;
    const at = place(event);
    if (Math.hypot(at.x - from.x0, at.y - from.y0) > 6) {
      const across = (value) => Math.max(0, Math.min(1, (value - area.left) / area.width));
      const upward = (value) => Math.max(0, Math.min(1, 1 - (value - area.top) / area.height));
      const [h, v] = [sx.part(across(from.x0), across(at.x)), sy.part(upward(from.y0), upward(at.y))];
      setView([h.low, h.high, v.low, v.high]);
    } else {
      const found = nearest(at);
      if (found?.star === undefined) onSelect(found ? store.points.number[found.row] : null);
    }
  };
  return {
    onPointerDown: (event) => {
      if (event.button !== 0) return;
      const at = place(event);
      start.current = { x0: at.x, y0: at.y };
      if (event.pointerType === 'mouse') box.current.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => (event.pointerType === 'mouse' || !start.current) && move(event),
    onPointerUp: up,
    onPointerCancel: () => { start.current = null; now.current.setDrag(null); },
    onPointerLeave: () => { cancelAnimationFrame(frame.current); now.current.setHover(null); },
    onDblClick: () => now.current.setView(null),
  };
}

/** Budget, floor and baseline. */
function Lines({ x, y, px, py, sx, sy, area }) {
  const inView = (scale, value) => scale.share(value) >= 0 && scale.share(value) <= 1;
  const right = area.left + area.width;
  const bottom = area.top + area.height;
  return html`<${Fragment}>
    ${x.lines.filter((line) => inView(sx, line.value)).map((line) => html`<g key=${line.text} class=${`rule ${line.kind}`}>
      <line x1=${px(line.value)} x2=${px(line.value)} y1=${area.top} y2=${bottom} />
      <text x=${px(line.value) + (px(line.value) > right - 130 ? -6 : 6)} y=${bottom - 8}
        text-anchor=${px(line.value) > right - 130 ? 'end' : 'start'}>${line.text}</text></g>`)}
    ${y.lines.filter((line) => inView(sy, line.value)).map((line) => html`<g key=${line.text} class=${`rule ${line.kind}`}>
      <line x1=${area.left} x2=${right} y1=${py(line.value)} y2=${py(line.value)} />
      <text x=${right - 6} y=${py(line.value) - 5} text-anchor="end">${line.text}</text></g>`)}
  </${Fragment}>`;
}

/** The front as steps, and the area that its hypervolume measures. */
function Steps({ front, corner, x, y, px, py, area }) {
  if (!front.length) return null;
  const least = x.column.direction === 'min';
  const members = least ? front : [...front].reverse();
  const down = y.column.direction === 'max' ? area.top + area.height + 20 : area.top - 20;
  const far = least ? area.left + area.width + 20 : area.left - 20;
  const steps = members.map(({ x: a, y: b }, at) => (at ? `H${px(a)}V${py(b)}` : `V${py(b)}`)).join('');
  const start = `M${px(members[0].x)} `;
  const better = (value) => (y.column.direction === 'max' ? value > corner.y : value < corner.y);
  const tinted = corner && volume(members.filter((member) => better(member.y)), corner, least, px, py);
  return html`<${Fragment}>
    ${tinted && html`<path class="volume" d=${tinted} />`}
    <path class="front-line" d=${`${start}${down}${steps}H${far}`} data-testid="front-line" />
  </${Fragment}>`;
}

/** What lies between the front and the reference; members beyond it add nothing. */
function volume(members, corner, least, px, py) {
  const within = members.filter((member) => (least ? member.x < corner.x : member.x > corner.x));
  if (!within.length) return null;
  const steps = within.map(({ x, y }) => `H${px(x)}V${py(y)}`).join('');
  return `M${px(within[0].x)} ${py(corner.y)}${steps}H${px(corner.x)}V${py(corner.y)}Z`;
}

const Bars = ({ intervals, px, py }) => intervals.map(({ x, low, high, mean }, at) => html`<g key=${at} class="interval">
  <path d=${`M${px(x) - 4} ${py(low)}h8M${px(x) - 4} ${py(high)}h8M${px(x)} ${py(low)}V${py(high)}M${px(x) - 3} ${py(mean)}h6`} />
</g>`);

const MarkAt = ({ x, y, stage, kind }) => html`<path class=${`${kind} stage ${stage}`}
  transform=${`translate(${x} ${y}) scale(1.15)`} d=${markPath(stage)} data-testid=${kind === 'member' ? 'member' : undefined} />`;

/** Published networks: a star where both values are known, else a tick at the cost. */
function Stars({ stars, px, py, area, named }) {
  const bottom = area.top + area.height;
  return stars.map(({ x, y, name }, at) => (y === null
    ? html`<g key=${name} class=${`published-cost ${at === named ? 'named' : ''}`}>
      <path d=${`M${px(x)} ${bottom}v-9`} /></g>`
    : html`<g key=${name} class="published-star"><path transform=${`translate(${px(x)} ${py(y)}) scale(1.3)`}
        d=${markPath('published')} /><text x=${px(x) + 10} y=${py(y) + 4}>${name}</text></g>`));
}

function Arrivals({ rows, store, x, y, px, py, inside }) {
  const now = performance.now();
  return rows.map(({ row, at }) => {
    const [a, b] = [px(x.at[row]), py(y.at[row])];
    if (!Number.isFinite(a) || !Number.isFinite(b) || !inside(row)) return null;
    const stage = store.points.stages[store.points.stage[row]];
    return html`<g key=${`${row}:${at}`} data-testid="arrival">
      ${store.points.number.length >= MANY && html`<${MarkAt} x=${a} y=${b} stage=${stage} kind="arrival" />`}
      ${now - at < 3000 && html`<circle class="arrived" cx=${a} cy=${b} r="5" />`}</g>`;
  });
}

const NOBODY = [];

/** By parent's number, its children's rows. */
export function childrenOf(store) {
  if (store.family?.version !== store.version) {
    const children = new Map();
    store.points.parent.forEach((parent, row) => {
      if (parent === null) return;
      if (children.has(parent)) children.get(parent).push(row);
      else children.set(parent, [row]);
    });
    store.family = { version: store.version, children };
  }
  return store.family.children;
}

/** From the row to its root: rows, itself first. */
export function ancestry(store, row) {
  const found = [row];
  for (let at = row; ;) {
    const parent = store.points.parent[at];
    at = parent === null || parent === undefined ? undefined : store.row(parent);
    if (at === undefined || found.includes(at)) return found;
    found.push(at);
  }
}

function Lineage({ store, row, x, y, px, py, kind }) {
  const { points } = store;
  if (row >= points.number.length) return null;
  const line = ancestry(store, row);
  const children = childrenOf(store).get(points.number[row]) ?? NOBODY;
  const link = (from, to) => {
    const [a, b, c, d] = [px(x.at[from]), py(y.at[from]), px(x.at[to]), py(y.at[to])];
    return [a, b, c, d].every(Number.isFinite) ? arrow(a, b, c, d) : '';
  };
  const up = line.slice(1).map((parent, at) => link(parent, line[at])).join('');
  const down = children.slice(0, 200).map((child) => link(row, child)).join('');
  const [a, b] = [px(x.at[row]), py(y.at[row])];
  return html`<g class=${`lineage ${kind}`}>
    <path d=${up + down} />
    ${Number.isFinite(a + b) && html`<circle cx=${a} cy=${b} r="9" />`}
    ${[...line.slice(1), ...children.slice(0, 200)].map((other) => Number.isFinite(px(x.at[other]) + py(y.at[other])) && html`<${MarkAt}
      key=${other} x=${px(x.at[other])} y=${py(y.at[other])} stage=${points.stages[points.stage[other]]} kind="relative" />`)}
  </g>`;
}

function arrow(a, b, c, d) {
  const length = Math.hypot(c - a, d - b);
  if (length < 14) return `M${a} ${b}L${c} ${d}`;
  const [u, v] = [(c - a) / length, (d - b) / length];
  const [tx, ty] = [c - u * 8, d - v * 8];
  const head = (turn) => `M${tx} ${ty}L${tx - u * 6 + turn * v * 3.5} ${ty - v * 6 - turn * u * 3.5}`;
  return `M${a} ${b}L${tx} ${ty}${head(1)}${head(-1)}`;
}

function Tip({ at, box, children }) {
  const right = at.x > box.width * 0.6;
  const low = at.y > box.height * 0.55;
  const style = {
    left: right ? 'auto' : `${at.x + 16}px`, right: right ? `${box.width - at.x + 16}px` : 'auto',
    top: low ? 'auto' : `${at.y + 12}px`, bottom: low ? `${box.height - at.y + 12}px` : 'auto',
  };
  return html`<div class="tip" role="presentation" style=${style} data-testid="tip">${children}</div>`;
}
