// The space: which choices matter at equal cost, and how choices and results go together.
import { html, useMemo, useState } from '../preact.js';
import { path } from '../api.js';
import { Chart } from '../chart.js';
import { href } from '../parts/address.js';
import { rangeText } from '../parts/filters.js';
import { count, difference, plural } from '../parts/format.js';
import { Empty, Fault, Loading, useAnswer } from '../parts/states.js';
import { tickText } from '../parts/scale.js';
import { alpha } from '../parts/theme.js';

const AGAIN_MS = 10000; // not at each trial

export default function Space({ study, query, setQuery, store }) {
  const { answer: space, problem } = useAnswer(path('studies', study.name, 'space'), store,
    ({ kind, rows }) => kind === 'points' && rows, AGAIN_MS);
  if (!space) return problem ? html`<${Fault} problem=${problem} />` : html`<${Loading} what="the choices" />`;
  if (!space.effects.length && !space.parallel.rows.length) {
    return html`<${Empty} title="Nothing to compare yet"><p>What choices are worth shows once some trials are complete.</p></${Empty}>`;
  }
  return html`<${Effects} study=${study} space=${space} query=${query} setQuery=${setQuery} />
    ${space.parallel.rows.length > 0 && html`<${Parallel} study=${study} space=${space} />`}`;
}

const FIRST = ['block', 'depth', 'width', 'upsampler'];
const rank = (choice) => (FIRST.includes(choice) ? FIRST.indexOf(choice) : FIRST.length);

function grouped(effects) {
  const groups = new Map();
  for (const effect of effects) groups.set(effect.choice, [...(groups.get(effect.choice) ?? []), effect]);
  return [...groups].sort(([one], [other]) => rank(one) - rank(other));
}

/** A value that is a number or a range of them ("8 to 9") as [low, high], else null. */
function bounds(text) {
  const ends = String(text).split(' to ').map(Number);
  return ends.every(Number.isFinite) ? [ends[0], ends.at(-1)] : null;
}

const sorted = (effects) => (effects.every((effect) => bounds(effect.value))
  ? [...effects].sort((one, other) => bounds(one.value)[0] - bounds(other.value)[0])
  : [...effects].sort((one, other) => other.effect - one.effect));

function nameOf(chosen) {
  const ends = bounds(chosen);
  return ends && ends[0] === ends[1] ? String(ends[0]) : String(chosen);
}

function Effects({ study, space, query, setQuery }) {
  const groups = useMemo(() => grouped(space.effects), [space]);
  const shown = groups.filter(([choice]) => !query.choice || choice === query.choice);
  const column = study.columns.find(({ key }) => key === space.axes.y);
  const cost = study.columns.find(({ key }) => key === space.axes.at_equal);
  const extent = useMemo(() => {
    const ends = shown.flatMap(([, effects]) => effects.flatMap(({ low, high, effect }) => [low ?? effect, high ?? effect]));
    const most = Math.max(...ends.map(Math.abs), 1e-9);
    return most * 1.08;
  }, [shown.length, space]);
  return html`<section class="panel" aria-label="Which choices matter">
    <div class="spread"><h2>What a choice is worth at equal ${cost?.unit || cost?.label || 'cost'}</h2>
      <label class="muted small">Choice <select value=${query.choice ?? ''} data-testid="choice"
        onChange=${(event) => setQuery({ choice: event.target.value || null })}>
        <option value="">all</option>${groups.map(([choice]) => html`<option key=${choice} value=${choice}
          selected=${choice === query.choice}>${choice}</option>`)}</select></label></div>
    <p class="muted small">The mean of the trials that have it less the mean of those that haven’t, with its 95 % interval; grey where
      that includes zero. Taken of ${space.fit.text}${space.fit.r2 !== null && ` (R² ${space.fit.r2.toFixed(2)})`}.</p>
    <div class="wide"><table class="forest" data-testid="effects">
      <thead><tr><th>Choice</th><th class="right">Trials</th><th class="whisk"><${Ruler} extent=${extent} unit=${column?.unit} /></th>
        <th class="right">Effect [${column?.unit || column?.label}]</th><th class="right optional">95 % interval</th></tr></thead>
      ${shown.map(([choice, effects]) => html`<tbody key=${choice}><tr class="group"><th colspan="5" scope="rowgroup">${choice}</th></tr>
        ${sorted(effects).map((effect) => html`<${Effect} key=${effect.value} study=${study} effect=${effect} extent=${extent}
          column=${column} />`)}</tbody>`)}
    </table></div></section>`;
}

const FILTERS = {
  block: (chosen) => ({ kind: chosen }),
  depth: (chosen) => ({ depth: bounds(chosen)?.join(':') }),
  width: (chosen) => ({ width: bounds(chosen)?.join(':') }),
  upsampler: (chosen) => ({ up: chosen }),
};

function Effect({ study, effect, extent, column }) {
  const { choice, n, low, high } = effect;
  const known = low !== null && high !== null;
  const weak = !known || (low <= 0 && high >= 0);
  const at = (amount) => `${50 + (50 * amount) / extent}%`;
  const filter = FILTERS[choice]?.(String(effect.value));
  const name = nameOf(effect.value);
  return html`<tr class=${weak ? 'weak' : ''}>
    <th scope="row">${filter ? html`<a href=${href(study.name, 'front', { query: filter })} title="On the front">${name}</a>` : name}</th>
    <td class="right">${count(n)}</td>
    <td class="whisk"><svg aria-hidden="true">
      <line class="zero" x1="50%" x2="50%" y1="0" y2="22" />
      ${known && html`<line class="range" x1=${at(low)} x2=${at(high)} y1="11" y2="11" />`}
      <circle class=${weak ? 'dot' : effect.effect > 0 ? 'dot up' : 'dot down'} cx=${at(effect.effect)} cy="11" r="4.5" /></svg></td>
    <td class="right">${difference(effect.effect, column ?? effect)}</td>
    <td class="right optional">${known ? `${difference(low, column ?? effect)} to ${difference(high, column ?? effect)}` : effect.note}</td>
  </tr>`;
}

function Ruler({ extent }) {
  const step = [1, 2, 5].map((factor) => factor * 10 ** Math.floor(Math.log10(extent))).filter((size) => size <= extent).at(-1);
  const ticks = [-step, 0, step];
  return html`<svg aria-hidden="true">${ticks.map((tick) => html`<text key=${tick} x=${`${50 + (50 * tick) / extent}%`} y="15"
    text-anchor="middle">${tick > 0 ? '+' : ''}${tickText(tick, [0, step]).replace('-', '−')}</text>`)}</svg>`;
}

/** Every shown trial as a line over its choices and results; brushes on the axes pick some. */
function Parallel({ study, space }) {
  const { dimensions, rows, numbers } = space.parallel;
  const [brushes, setBrushes] = useState({});
  const quality = dimensions.findIndex(({ name }) => name === space.axes.y);
  const option = useMemo(() => (theme) => parallelOption(theme, study, dimensions, rows, quality), [space]);
  const chosen = useMemo(() => picked(rows, dimensions, brushes), [rows, brushes]);
  const brushed = Object.keys(brushes).length > 0;
  const listen = (chart) => chart.on('axisareaselected', () => setBrushes(Object.fromEntries(
    chart.getOption().parallelAxis.map((one, at) => [at, chart.getModel().getComponent('parallelAxis', at).activeIntervals])
      .filter(([, intervals]) => intervals?.length))));
  const filter = frontFilter(study, space.parallel, brushes);
  return html`<section class="panel" aria-label="Choices and results together">
    <div class="spread"><h2>Choices and results together</h2>
      <div class="row small"><span class="muted" role="status" data-testid="brushed">${brushed
        ? `${count(chosen.length)} of ${plural(rows.length, 'trial')} picked` : 'Drag along an axis to pick trials; click it to let go'}</span>
      ${brushed && html`<a class="button" href=${href(study.name, 'front', { query: filter })} data-testid="show-on-front">Show on the front</a>`}
      </div></div>
    <${Chart} className="parallel" testid="parallel" option=${option} onChart=${listen}
      label=${`${plural(rows.length, 'trial')} over ${dimensions.map(({ name }) => name).join(', ')}`} />
    ${space.parallel.left_out > 0 && html`<p class="muted small">${plural(space.parallel.left_out, 'trial')} left out so that lines can be told
      apart; the front’s members are all here.</p>`}
    ${brushed && html`<p class="muted small">Trials: ${chosen.slice(0, 30).map((row) => html`<a key=${numbers[row]} class="num"
      href=${href(study.name, 'trial', { arg: numbers[row] })}>${numbers[row]}</a> `)}${chosen.length > 30 && `and ${count(chosen.length - 30)} more`}</p>`}
  </section>`;
}

function parallelOption(theme, study, dimensions, rows, quality) {
  const byKey = new Map(study.columns.map((column) => [column.key, column]));
  const values = quality < 0 ? [] : rows.map((row) => row[quality]).filter((one) => one !== null).sort((one, other) => one - other);
  // the worst few would take most of the colours
  const [least, most] = [values[Math.floor(values.length * 0.05)], values.at(-1)];
  return {
    animation: false,
    tooltip: { show: false },
    parallel: { left: 46, right: 60, top: 44, bottom: 26, axisExpandable: false,
      parallelAxisDefault: {
        nameTextStyle: { color: theme.muted, fontSize: 11.5 }, nameGap: 16, axisLine: { lineStyle: { color: theme.faint } },
        axisTick: { lineStyle: { color: theme.faint } }, axisLabel: { color: theme.text, fontSize: 11, textBorderColor: theme.panel, textBorderWidth: 3 }, splitLine: { show: false },
      } },
    parallelAxis: dimensions.map((dimension, dim) => ({ dim, ...axisOf(dimension, byKey.get(dimension.name)),
      areaSelectStyle: { width: 16, borderWidth: 1, borderColor: theme.accent, color: alpha(theme.accent, 0.3), opacity: 1 } })),
    visualMap: quality < 0 ? undefined : { show: false, type: 'continuous', dimension: quality, min: least, max: most,
      inRange: { color: [theme.low, theme.middle, theme.high] } },
    series: [{ id: 'trials', type: 'parallel', data: rows, progressive: 500, smooth: 0.08, inactiveOpacity: 0.03, activeOpacity: 0.75,
      lineStyle: { width: 1.1, opacity: rows.length > 500 ? 0.28 : 0.5 } }],
  };
}

function axisOf({ name, kind, values }, column) {
  const title = column?.unit ? `${column.name} [${column.unit}]` : column?.name ?? name;
  if (kind === 'category') return { name: title, type: 'category', data: values };
  return { name: title, type: 'value', scale: true, minInterval: column ? undefined : 1, axisLabel: { formatter: short } };
}

const short = (shown) => String(Number(shown.toPrecision(4)));

function picked(rows, dimensions, brushes) {
  const within = Object.entries(brushes).map(([dim, intervals]) => (row) => {
    const { kind, values } = dimensions[dim];
    const place = kind === 'category' && typeof row[dim] === 'string' ? values.indexOf(row[dim]) : row[dim];
    return place !== null && intervals.some(([low, high]) => place >= low && place <= high);
  });
  return rows.map((_, at) => at).filter((at) => within.every((test) => test(rows[at])));
}

/** The brushes as the front's filters and zoom; brushed genes have none there. */
function frontFilter(study, { dimensions, rows }, brushes) {
  const query = {};
  const span = {};
  for (const [dim, intervals] of Object.entries(brushes)) {
    const { name, kind, values } = dimensions[dim];
    const [low, high] = [Math.min(...intervals.map(([from]) => from)), Math.max(...intervals.map(([, to]) => to))];
    const names = () => values.slice(Math.max(0, Math.ceil(low)), Math.floor(high) + 1);
    if (kind === 'category' && name === 'upsampler') query.up = names().join(',');
    else if (kind === 'category' && name === 'stage') query.stage = names().join(',');
    else if (kind === 'category' && (name === 'main block')) query.kind = names().join(',');
    else if (name === 'depth' || name === 'width') query[name] = rangeText([Math.ceil(low), Math.floor(high)]);
    else span[name] = [low, high];
  }
  const axes = [study.cost, study.objective];
  if (axes.some((key) => span[key])) {
    const all = (key) => rows.map((row) => row[dimensions.findIndex(({ name }) => name === key)]).filter(Number.isFinite);
    const ends = (key) => span[key] ?? [Math.min(...all(key)), Math.max(...all(key))];
    const zoom = axes.flatMap(ends);
    if (zoom.every(Number.isFinite)) query.zoom = zoom.map((end) => Number(end.toPrecision(6))).join(':');
  }
  return query;
}
