// Lines over training: what a trial's scores did, and how the hypervolume grew.
import { html, useMemo } from '../preact.js';
import { Chart, axis, tooltip } from '../chart.js';
import { count, duration } from './format.js';

/** A small line without axes: [[step, value], ...] of a trial that learns until `of` steps. */
export function Spark({ points, of, label }) {
  const [wide, high] = [160, 36];
  if (!points.length) return html`<span class="spark-none muted">no score yet</span>`;
  const values = points.map(([, value]) => value);
  const [low, top] = [Math.min(...values), Math.max(...values)];
  const last = Math.max(of ?? 0, points.at(-1)[0], 1);
  const place = ([step, value]) => [
    (3 + (step / last) * (wide - 6)).toFixed(1),
    (top > low ? 4 + ((top - value) / (top - low)) * (high - 8) : high / 2).toFixed(1),
  ];
  const line = points.map((point, i) => `${i ? 'L' : 'M'}${place(point).join(' ')}`).join('');
  const [x, y] = place(points.at(-1));
  return html`<svg class="spark" viewBox=${`0 0 ${wide} ${high}`} width=${wide} height=${high} role="img"
    aria-label=${label}>
    <path d=${`M0 ${high - 0.5}H${wide}`} class="spark-base" /><path d=${line} class="spark-line" />
    <circle cx=${x} cy=${y} r="2.5" /></svg>`;
}

/** A trial's score and loss over its steps, from its rungs. */
export function LearningCurve({ rungs, metric }) {
  const option = useMemo(() => (theme) => learning(rungs, metric, theme), [rungs, metric]);
  const scored = scores(rungs, metric);
  const [first, last] = [scored[0], scored.at(-1)].map((point) => point?.[1].toFixed(2));
  const label = scored.length
    ? `${metric.label} over training steps: from ${first} to ${last} ${metric.unit}` : 'Loss over training steps';
  return html`<${Chart} option=${option} label=${label} className="learning" testid="learning-curve" />`;
}

/** [[step, value], ...] of a metric; the last attempt counts where a step was reached twice. */
function scores(rungs, metric) {
  const found = rungs.map(({ step, measurements }) => [step, measured(measurements, metric)]);
  return [...new Map(found.filter(([, value]) => value !== null))];
}

/** A column's value among measurements: of the same metric under the same protocol; null without one. */
export function measured(measurements, column) {
  const same = ({ name, protocol }) => name === column?.name && protocol === column.protocol;
  return measurements?.find(same)?.value ?? null;
}

function learning(rungs, metric, theme) {
  const losses = [...new Map(rungs.filter(({ loss }) => loss !== null).map(({ step, loss }) => [step, loss]))];
  const line = (name, data, colour, yAxisIndex, type) => ({
    id: name, name, type: 'line', data, yAxisIndex, symbolSize: 6, itemStyle: { color: colour },
    lineStyle: { color: colour, width: 2, type },
  });
  return {
    legend: { top: 0, left: 0, textStyle: { color: theme.muted }, itemWidth: 18, itemHeight: 8 },
    grid: { left: 52, right: 56, top: 30, bottom: 40 },
    tooltip: { ...tooltip(theme), trigger: 'axis' },
    xAxis: { type: 'value', min: 0, ...axis(theme, 'training steps') },
    yAxis: [
      { type: 'value', scale: true, ...axis(theme, metric.unit), nameGap: 40 },
      { type: 'value', scale: true, ...axis(theme, 'loss'), nameGap: 42, splitLine: { show: false } },
    ],
    series: [
      line(metric.label, scores(rungs, metric), theme.accent, 0, 'solid'),
      line('loss', losses, theme.muted, 1, 'dashed'),
    ],
  };
}

/** The hypervolume against `by`: 'time' or 'steps'. */
export function Growth({ hypervolume, by }) {
  const measured = by === 'time' ? hypervolume.by_time : hypervolume.by_steps;
  const [at, volume] = measured.at(-1);
  const [unit, size] = by === 'time' ? timeUnit(at) : ['training steps of all trials', 1];
  const points = useMemo(() => [[0, 0], ...measured.map(([x, y]) => [x / size, y])], [measured]);
  const option = useMemo(() => (theme) => growth(points, hypervolume.unit, unit, theme), [points, hypervolume.unit]);
  const after = by === 'time' ? duration(at) : `${count(at)} steps`;
  const label = `Hypervolume: ${volume.toPrecision(4)} ${hypervolume.unit} after ${after}`;
  return html`<${Chart} option=${option} label=${label} className="growth" testid="hypervolume" />`;
}

const timeUnit = (seconds) => (seconds < 180 ? ['seconds since the start', 1]
  : seconds < 3 * 3600 ? ['minutes since the start', 60] : ['hours since the start', 3600]);

function growth(points, volume, unit, theme) {
  return {
    grid: { left: 58, right: 16, top: 14, bottom: 44 },
    tooltip: { ...tooltip(theme), trigger: 'axis',
      formatter: ([{ value: [x, y] }]) => `${y.toPrecision(5)} ${volume}\n${count(Math.round(x * 10) / 10)} ${unit}` },
    xAxis: { type: 'value', min: 0, ...axis(theme, unit) },
    yAxis: { type: 'value', scale: true, ...axis(theme, volume), nameGap: 44 },
    series: [{
      id: 'hypervolume', type: 'line', step: 'end', data: points, symbol: 'none', itemStyle: { color: theme.accent },
      lineStyle: { color: theme.accent, width: 2 }, areaStyle: { color: theme.accent, opacity: 0.1 },
    }],
  };
}
