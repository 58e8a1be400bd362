// The front: every trial, what is best among them, and what the selected one is.
import { html, useEffect, useMemo, useRef, useState } from '../preact.js';
import { get, path } from '../api.js';
import { fetchCharts } from '../chart.js';
import { announce } from '../parts/announce.js';
import { go, href } from '../parts/address.js';
import { useBasket } from '../parts/basket.js';
import { EarlyHeadline, EarlyMembers, earlyPoints, states } from '../parts/early.js';
import { NONE, asked, filtered, matcher, readFilters } from '../parts/filters.js';
import { FilterBar, StageChips } from '../parts/filterbar.js';
import { count, heading, plural, value } from '../parts/format.js';
import { useKeys } from '../parts/keys.js';
import { Glyph } from '../parts/marks.js';
import { Members } from '../parts/members.js';
import { fitted } from '../parts/scale.js';
import { Scatter } from '../parts/scatter.js';
import { Selection } from '../parts/selection.js';
import { Empty, Fault, Loading, useAnswer, useStore } from '../parts/states.js';

fetchCharts();

export default function Front(props) {
  const { store, study } = props;
  useStore(store, ['points', 'features', 'connection']);
  if (!store.points) return store.problem ? html`<${Fault} problem=${store.problem} />` : html`<${Loading} what="the trials" />`;
  if (!study.columns.length || !store.points.number.length) return html`<${NoTrials} study=${study} />`;
  return html`<${Shown} ...${props} />`;
}

const NoTrials = ({ study }) => html`<${Empty} title=${`${study.name} has no trial yet`}>
  <p>${study.state === 'running' ? 'The first one appears here as soon as it is asked for.'
    : html`It is ${study.state}. Go on with it: <code>pixelfront search --resume --study ${study.name}</code>`}</p></${Empty}>`;

function Shown({ study, info, query, setQuery, store }) {
  const { points } = store;
  const byKey = useMemo(() => new Map(study.columns.map((column) => [column.key, column])), [study]);
  const x = byKey.get(query.x) ?? byKey.get(study.axes.x) ?? study.columns[0];
  const y = byKey.get(query.y) ?? byKey.get(study.axes.y) ?? study.columns.at(-1);
  const log = query.xlog === '1';
  const filterKey = JSON.stringify(asked(query)) + store.features;
  const inside = useMemo(() => matcher(points, readFilters(query)), [filterKey, store.version]);
  const answer = useFront(study, x, y, query, store);
  const intervals = useIntervals(study, y, store);
  const xs = useMemo(() => shown(points, x), [store.version, x]);
  const ys = useMemo(() => averaged(shown(points, y), intervals, store, y), [store.version, y, intervals]);

  const front = useMemo(() => members(answer, store, x, y), [answer, store.version, x, y]);
  const { complete, open } = useMemo(() => states(points), [store.version]);
  const preliminary = useEarly(study, query, store, open && (!complete || query.early === '1'));
  const early = useMemo(() => earlyPoints(preliminary, store, x, y).filter(({ row }) => inside(row)),
    [preliminary, store.version, x, y, inside]);
  const stars = useMemo(() => starsOf(study, x, y), [study, x, y]);
  const xLines = useMemo(() => linesOf(study, x), [study, x]);
  const yLines = useMemo(() => linesOf(study, y), [study, y]);
  const whole = query.fit === 'all';
  const scales = useScales({ xs, ys, x, y, log, front, early, stars, xLines, yLines, whole, waiting: !answer });
  const bars = useMemo(() => barsOf(intervals, store, xs, y), [intervals, xs, y]);

  const [basket, toggle] = useBasket(study.name, info.limits.compare);
  const number = query.sel === undefined ? null : Number(query.sel);
  const selected = number === null ? null : store.row(number) ?? null;
  const select = (chosen) => {
    setQuery({ sel: chosen === null || chosen === number ? null : chosen });
    if (chosen !== null) announce(spoken(store, chosen, x, y, front));
  };
  useFrontKeys({ front, number, select, toggle, study });
  useEffect(() => { if (answer) announceFront(answer, front, x, y); }, [front.map((member) => member.number).join()]);
  const [charted, setCharted] = useState(false);
  useEffect(() => { if (charted && answer) onceDrawn(store); }, [charted, answer]);
  const unseen = useMemo(() => outside(xs, ys, early, scales, inside), [xs, ys, early, scales, inside]);
  const zoom = readZoom(query.zoom);

  return html`
    <div class="controls">
      <${AxisChoice} name="Quality" axis="y" columns=${study.columns} chosen=${y} onChange=${(key) => setQuery({ y: key, zoom: null })} />
      <${AxisChoice} name="against" axis="x" columns=${study.columns} chosen=${x} onChange=${(key) => setQuery({ x: key, zoom: null })} />
      <label><input type="checkbox" checked=${log} data-testid="log"
        onChange=${() => setQuery({ xlog: log ? null : 1, zoom: null })} />log</label>
      ${complete && open && html`<label><input type="checkbox" checked=${query.early === '1'} data-testid="show-early"
        onChange=${() => setQuery({ early: query.early === '1' ? null : 1 })} />preliminary</label>`}
      <${StageChips} store=${store} query=${query} setQuery=${setQuery} />
      <${FilterBar} store=${store} query=${query} setQuery=${setQuery} />
      ${filtered(query) && html`<button type="button" class="link" data-testid="clear"
        onClick=${() => setQuery(NONE)}>Clear filters</button>`}
    </div>
    <section class="panel plot" aria-label="Front">
      <div class="plot-head"><${Headline} answer=${answer} front=${front} x=${x} y=${y} trivial=${study.baseline?.name ?? 'nothing'} />
        <${EarlyHeadline} answer=${preliminary} early=${early} />
        <span class="push"></span>
        ${unseen > 0 && !zoom && html`<button type="button" class="link" data-testid="fit-all"
          onClick=${() => setQuery({ fit: 'all' })}>${plural(unseen, 'trial')} below the view: show all</button>`}
        ${whole && html`<button type="button" class="link" onClick=${() => setQuery({ fit: null })}>Fit to the front</button>`}
        <${ZoomButtons} zoomed=${Boolean(zoom)} />
      </div>
      <${Scatter} store=${store} x=${{ column: x, at: xs, scale: scales.x, lines: xLines }}
        y=${{ column: y, at: ys, scale: scales.y, lines: yLines }} front=${front} early=${early} corner=${cornerOf(answer, x, y)} inside=${inside}
        filterKey=${filterKey} stars=${stars} intervals=${bars} zoom=${zoom} selected=${selected}
        setZoom=${(parts) => setQuery({ zoom: parts?.join(':') ?? null })} onSelect=${select}
        onOpen=${(chosen) => go(href(study.name, 'trial', { arg: chosen }))}
        onDrawn=${() => setCharted(true)}
        label=${`${heading(y)} against ${heading(x)}: ${plural(front.length, 'trial')} on the front of ${count(points.number.length)}`}
        tip=${(at) => html`<${Pointed} at=${at} store=${store} stars=${stars} columns=${study.columns} x=${x} y=${y}
          early=${early.find(({ row }) => row === at.row)} reached=${preliminary} />`} />
      ${answer && !early.length && !xs.some((at, row) => at === at && ys[row] === ys[row]) && html`<p class="muted" data-testid="nothing-drawn">
        No trial has both values yet${study.counts.by_state.failed > 0 && html`; ${plural(study.counts.by_state.failed, 'trial')} failed, see
        ${' '}<a href=${href(study.name, 'progress')}>why</a>`}.</p>`}
      <p id="front-how" class="unseen">Arrow keys step through the front; Enter opens the trial; the table below lists the front.</p>
      <${Notes} study=${study} x=${x} y=${y} answer=${answer} intervals=${bars} stars=${stars} scale=${scales.x} />
    </section>
    <${Selection} study=${study} store=${store} row=${selected} number=${number} x=${x} y=${y} front=${front} answer=${answer}
      inBasket=${number !== null && basket.includes(number)} onToggle=${toggle} onSelect=${select} />
    <${Members} study=${study} store=${store} front=${front} x=${x} y=${y} number=${number} basket=${basket} onToggle=${toggle}
      onSelect=${select} waiting=${!answer} filtered=${filtered(query)} />
    <${EarlyMembers} study=${study} store=${store} answer=${preliminary} early=${early} x=${x} y=${y} onSelect=${select} />`;
}

/** Networks that aren't trained to the end, where they are wanted; null else. */
function useEarly(study, query, store, wanted) {
  const address = wanted ? path('studies', study.name, 'preliminary', { x: query.x, y: query.y }) : null;
  return useAnswer(address, store, ({ kind, rows }) => kind === 'points' && rows, 1000).answer ?? null;
}

/** The first front is on the screen: what can wait may start. */
function onceDrawn(store) {
  requestAnimationFrame(() => setTimeout(() => {
    window.pixelfront.drawn ??= performance.now();
    document.documentElement.dataset.drawn = 'front'; // what a test can wait for: the page's policy forbids evaluating
    store.seen();
  }));
}

/** The front as the server computes it, again after changes; the last one stays until the next is there. */
function useFront(study, x, y, query, store) {
  const [answer, setAnswer] = useState(null);
  // the study's own axes are what the server takes where none are named
  const wanted = path('studies', study.name, 'front', { x: query.x && x.key, y: query.y && y.key, ...asked(query) });
  useEffect(() => {
    let timer = null;
    let abort = new AbortController();
    const ask = () => {
      timer = null;
      abort.abort();
      abort = new AbortController();
      get(wanted, abort).then(setAnswer, (problem) => problem.name !== 'AbortError' && setAnswer(null));
    };
    ask();
    const stop = store.subscribe(({ kind, rows }) => {
      if (kind === 'points' && rows) timer ??= setTimeout(ask, 250);
    });
    return () => {
      stop();
      abort.abort();
      clearTimeout(timer);
    };
  }, [wanted, store]);
  return answer?.x?.key === x.key && answer.y?.key === y.key ? answer : null;
}

function useIntervals(study, y, store) {
  const [groups, setGroups] = useState([]);
  useEffect(() => {
    const abort = new AbortController();
    setGroups([]);
    if (!store.features) return undefined; // what the server needs for both is what the first front needn't wait for
    get(path('studies', study.name, 'intervals', { y: y.key }), abort).then((found) => setGroups(found.groups), () => {});
    return () => abort.abort();
  }, [study, y, store.features]);
  return groups;
}

/** A column's values as shown, by row; NaN where there is none. */
function shown(points, column) {
  const raw = points.values[column.key] ?? [];
  const scale = column.scale || 1;
  const found = new Float64Array(points.number.length).fill(NaN);
  for (let row = 0; row < found.length; row += 1) {
    if (raw[row] !== null && raw[row] !== undefined) found[row] = raw[row] / scale;
  }
  return found;
}

/** Repeated trainings are one mark, at their mean as the front has it; the bar around it says how sure that is. */
function averaged(found, groups, store, y) {
  for (const { numbers: [first, ...repeats], mean } of groups) {
    if (store.row(first) !== undefined) found[store.row(first)] = mean / (y.scale || 1);
    for (const row of repeats.map((number) => store.row(number))) if (row !== undefined) found[row] = NaN;
  }
  return found;
}

const members = (answer, store, x, y) => (answer?.members ?? [])
  .map((member) => ({ number: member.number, row: store.row(member.number), x: member.x / (x.scale || 1),
    y: member.y / (y.scale || 1) }))
  .filter((member) => member.row !== undefined)
  .map((member) => ({ ...member, stage: store.points.stages[store.points.stage[member.row]] }))
  .sort((one, other) => one.x - other.x);

function starsOf(study, x, y) {
  return study.published
    .map(({ name, values, source }) => ({ name, source, x: (values[x.key] ?? NaN) / (x.scale || 1),
      y: values[y.key] === undefined || values[y.key] === null ? null : values[y.key] / (y.scale || 1) }))
    .filter((star) => Number.isFinite(star.x));
}

/** Budget, floor and trivial baseline where the column is theirs, as shown. */
function linesOf(study, column) {
  const lines = [];
  const scale = column.scale || 1;
  if (column.key === study.cost) {
    const { low, high, unit } = study.budget;
    if (high !== null) lines.push({ kind: 'budget', value: high, text: `budget ${high} ${unit}`, limit: true });
    if (low) lines.push({ kind: 'budget', value: low, text: `at least ${low} ${unit}` });
  }
  for (const bound of study.bounds.filter(({ key }) => key === column.key && key !== study.objective)) {
    lines.push({ kind: 'budget', value: bound.value / scale, text: bound.text, limit: column.direction === 'min' });
  }
  if (column.key === study.objective) {
    const { baseline, floor } = study;
    if (baseline) {
      lines.push({ kind: 'baseline', value: baseline.value / scale, text: `${baseline.name} ${value(baseline.value, column)}` });
    }
    if (floor) {
      lines.push({ kind: 'floor', value: floor.value / scale, text: `to reach: ${floor.name || ''} ${value(floor.value, column)}` });
    }
  } else {
    const measured = study.baseline?.measurements?.find(
      (other) => other.name === column.name && other.protocol === column.protocol);
    if (measured) {
      const text = `${study.baseline.name} ${value(measured.value, column)}`;
      lines.push({ kind: 'baseline', value: measured.value / scale, text });
    }
  }
  return lines;
}

/** Both axes' parts to show; they stay while trials arrive within them, so that nothing jumps. */
function useScales({ xs, ys, x, y, log, front, early, stars, xLines, yLines, whole, waiting }) {
  const kept = useRef(null);
  const key = [x.key, y.key, log, whole, waiting].join();
  const fresh = useMemo(() => {
    const must = (name, lines) => [...[...front, ...early.filter((at) => whole || at.member)].map((at) => at[name]), ...lines.map((line) => line.value)];
    const seen = stars.filter((star) => star.y !== null);
    const worse = { min: 'high', max: 'low' };
    return {
      x: fitted(xs, [...must('x', xLines), ...seen.map((star) => star.x)], { log, worse: whole || xLines.length ? null : worse[x.direction] }),
      y: fitted(ys, [...must('y', yLines), ...seen.map((star) => star.y)], { worse: whole ? null : worse[y.direction] }),
    };
  }, [xs, ys, key, front, early, stars, xLines, yLines]);
  const old = kept.current;
  const holds = (was, now) => now.low >= was.low && now.high <= was.high && now.to - now.from > 0.6 * (was.to - was.from);
  const stay = old?.key === key && holds(old.scales.x, fresh.x) && holds(old.scales.y, fresh.y);
  const scales = stay ? old.scales : fresh;
  kept.current = { key, scales };
  return scales;
}

function barsOf(groups, store, xs, y) {
  const scale = y.scale || 1;
  return groups.map(({ numbers, mean, low, high, n }) => ({ x: xs[store.row(numbers[0])], mean: mean / scale, low: low / scale,
    high: high / scale, n })).filter((bar) => Number.isFinite(bar.x)).slice(0, 500);
}

const cornerOf = (answer, x, y) => answer?.reference
  && { x: answer.reference.x / (x.scale || 1), y: answer.reference.y / (y.scale || 1) };

function outside(xs, ys, early, { x, y }, inside) {
  let found = early.filter((at) => at.y < y.low || at.y > y.high || at.x < x.low || at.x > x.high).length;
  for (let row = 0; row < xs.length; row += 1) {
    if (xs[row] === xs[row] && ys[row] === ys[row] && inside(row)
      && (ys[row] < y.low || ys[row] > y.high || xs[row] < x.low || xs[row] > x.high)) found += 1;
  }
  return found;
}

function readZoom(text) {
  const parts = (text ?? '').split(':').map(Number);
  return parts.length === 4 && parts.every(Number.isFinite) && parts[0] < parts[1] && parts[2] < parts[3] ? parts : null;
}

function useFrontKeys({ front, number, select, toggle, study }) {
  const visit = (member) => {
    if (!member) return false;
    if (member.number !== number) select(member.number);
    return true;
  };
  const step = (by) => {
    const at = front.findIndex((member) => member.number === number);
    return visit(at < 0 ? front.at(by > 0 ? 0 : -1) : front[Math.max(0, Math.min(front.length - 1, at + by))]);
  };
  const chart = () => document.querySelector('.canvas');
  useKeys('Front', [
    { keys: ['ArrowRight', 'ArrowUp'], says: 'next member of the front', run: (event) => free(event) && step(1) },
    { keys: ['ArrowLeft', 'ArrowDown'], says: 'the one before', run: (event) => free(event) && step(-1) },
    { keys: ['Home'], says: 'cheapest member', run: (event) => free(event) && visit(front[0]) },
    { keys: ['End'], says: 'dearest member', run: (event) => free(event) && visit(front.at(-1)) },
    { keys: ['Enter'], says: 'open the selected trial',
      run: (event) => (number !== null && event.target.matches('body, main, .canvas')
        ? go(href(study.name, 'trial', { arg: number })) : false) },
    { keys: ['c'], says: 'put the selected trial aside to compare', run: () => number !== null && toggle(number) },
    { keys: ['+', '='], says: 'zoom in', run: () => chart().zoomBy(0.7) },
    { keys: ['-'], says: 'zoom out', run: () => chart().zoomBy(1 / 0.7) },
    { keys: ['0'], says: 'all of the front', run: () => chart().resetZoom() },
    { keys: ['Escape'], says: 'select nothing', run: () => number !== null && select(null) },
  ]);
}

// Arrow keys belong to the page's scrolling unless nothing else or the chart has the focus, and to controls always.
const free = (event) => event.target.matches('body, main, .canvas, .members tr');

const AxisChoice = ({ name, axis, columns, chosen, onChange }) => html`<label>${name}
  <select value=${chosen.key} data-testid=${`axis-${axis}`} aria-label=${axis === 'x' ? 'Horizontal axis' : 'Vertical axis'}
    onChange=${(event) => onChange(event.target.value)}>
    ${['quality', 'cost', 'runtime'].map((kind) => columns.some((column) => column.kind === kind) && html`<optgroup key=${kind}
      label=${{ quality: 'Quality', cost: 'Cost', runtime: 'Measured on a device' }[kind]}>
      ${columns.filter((column) => column.kind === kind).map((column) => html`<option key=${column.key} value=${column.key}
        selected=${column.key === chosen.key}>${heading(column)}</option>`)}</optgroup>`)}
  </select></label>`;

const Headline = ({ answer, front, x, y, trivial }) => (answer ? html`<strong data-testid="headline">${plural(front.length, 'member')}</strong>
  <span class="muted">of ${count(answer.considered)} complete${answer.worthless > 0
    && `, ${count(answer.worthless)} no better than ${trivial}`}${answer.unmet > 0 && `, ${count(answer.unmet)} beyond a limit`}</span>
  ${answer.hypervolume !== null && html`<span class="muted">hypervolume
    
    ${' '}<strong class="num" data-testid="hypervolume">${(answer.hypervolume / (x.scale * y.scale)).toPrecision(4)}</strong>
    ${' '}${x.unit} × ${y.unit}</span>`}`
  : html`<span class="muted">computing the front …</span>`);

function ZoomButtons({ zoomed }) {
  const chart = (name, ...given) => () => document.querySelector('.canvas')[name](...given);
  return html`<span class="row">
    <button type="button" class="quiet" aria-label="Zoom in" title="Zoom in (+)" onClick=${chart('zoomBy', 0.7)} data-testid="zoom-in">+</button>
    <button type="button" class="quiet" aria-label="Zoom out" title="Zoom out (-)" onClick=${chart('zoomBy', 1 / 0.7)}>−</button>
    <button type="button" class="quiet" disabled=${!zoomed} title="All of the front (0)" onClick=${chart('resetZoom')}
      data-testid="zoom-reset">Reset</button></span>`;
}

function Notes({ study, x, y, answer, intervals, stars, scale }) {
  const ticks = stars.filter((star) => star.y === null && star.x >= scale.low && star.x <= scale.high).sort((one, other) => one.x - other.x);
  return html`<div class="notes">
    <p><strong>${y.label}</strong>: ${y.protocol || y.name}${study.baseline && y.key === study.objective
      ? ` (${study.baseline.name} ${value(study.baseline.value, y)} ${y.unit})` : ''}</p>
    <p><strong>${x.label}</strong>: ${x.protocol || x.name}</p>
    ${answer?.reference && html`<p>Hypervolume: the tinted area, from ${value(answer.reference.x, x)} ${x.unit},
      ${' '}${value(answer.reference.y, y)} ${y.unit} (${answer.reference.meaning})</p>`}
    ${study.bounds.length > 0 && html`<p>Limits: ${study.bounds.map((bound) => bound.text).join(', ')}; no member is beyond one</p>`}
    ${intervals.length > 0 && html`<p>Bars: mean and 95 % interval of architectures that were trained several times</p>`}
    ${ticks.length > 0 && html`<p>Ticks on the axis: what published networks cost; their ${y.label} isn’t known under this protocol
      (${ticks.slice(0, 10).map((star) => `${star.name} ${value(star.x * (x.scale || 1), x)}`).join(', ')}${ticks.length > 10
        && `, and ${ticks.length - 10} more`})</p>`}
  </div>`;
}

function Pointed({ at, store, stars, columns, x, y, early, reached }) {
  if (at.star !== undefined) {
    const star = stars[at.star];
    return html`<div class="head"><${Glyph} stage="published" />${star.name}</div><div class="what">${star.source}</div>
      <table><tr><td>${x.label}</td><td class="right">${value(star.x * (x.scale || 1), x)} ${x.unit}</td></tr>
      ${star.y !== null && html`<tr><td>${y.label}</td><td class="right">${value(star.y * (y.scale || 1), y)} ${y.unit}</td></tr>`}</table>`;
  }
  const trial = store.trial(store.points.number[at.row]);
  const known = columns.filter((column) => trial.values[column.key] !== null && trial.values[column.key] !== undefined);
  return html`<div class="head"><${Glyph} stage=${trial.stage} />Trial ${trial.number}
      <span class="muted">${trial.stage}${trial.parent !== null ? ` from ${trial.parent}` : ''}</span></div>
    ${trial.label && html`<div class="what">${trial.label}</div>`}
    ${early && html`<div>preliminary, step ${count(reached.step)} of ${count(reached.steps)}:${' '}
      <strong>${value(early.y * (y.scale || 1), y)} ${y.unit}</strong></div>`}
    <table>${known.slice(0, 7).map((column) => html`<tr key=${column.key}><td class="muted">${column.label}</td>
      <td class="right">${value(trial.values[column.key], column)} ${column.unit}</td></tr>`)}</table>`;
}

function spoken(store, number, x, y, front) {
  const trial = store.trial(number);
  const at = front.findIndex((member) => member.number === number);
  const place = at >= 0 ? `, ${at + 1} of ${front.length} on the front` : '';
  return `Trial ${number}, ${trial.stage}${place}: ${value(trial.values[y.key], y)} ${y.unit}, ${value(trial.values[x.key], x)} ${x.unit}`;
}

function announceFront(answer, front, x, y) {
  if (!front.length) return;
  const best = y.direction === 'max' ? front.at(-1) : front[0];
  announce(`Front of ${plural(front.length, 'trial')}; the best has ${value(best.y * (y.scale || 1), y)} ${y.unit} at ${
    value(best.x * (x.scale || 1), x)} ${x.unit}`);
}

