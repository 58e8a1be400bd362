// ECharts as a component: it follows the theme and its box, and is fetched when the first chart is shown.
import { html, useEffect, useRef } from './preact.js';
import { calm, colours, onTheme } from './parts/theme.js';

const library = () => import('./vendor/echarts.js');
let fetched = null;
export const fetchCharts = () => (fetched ??= library());

/**
 * A chart. Its text alternative is `label`, and whatever table stands beside it.
 *
 * option: an ECharts option, or a function from the theme's colours to one; compared by identity, so memoise it. It is
 *   merged into what is drawn (series by id); `replace` lists the components whose missing ids go.
 * onChart(chart, echarts): once, when there is a chart. className sets the height.
 * Tooltips are texts on the canvas (renderMode 'richText'): the page's policy forbids styles in markup.
 */
export function Chart({ option, label, className = '', testid, onChart, onDrawn, replace = ['series'] }) {
  const box = useRef(null);
  const state = useRef({});
  state.current.option = option;
  const draw = () => {
    const { chart } = state.current;
    if (!chart || !state.current.option) return;
    const theme = colours();
    const made = typeof state.current.option === 'function' ? state.current.option(theme) : state.current.option;
    chart.setOption({ ...base(theme), ...made }, { replaceMerge: replace });
    onDrawn?.(chart);
  };
  useEffect(() => {
    let gone = false;
    const stops = [];
    fetchCharts().then((echarts) => {
      if (gone) return;
      const chart = echarts.init(box.current, null, { renderer: 'canvas' });
      state.current.chart = chart;
      const sizes = new ResizeObserver(() => chart.resize());
      sizes.observe(box.current);
      stops.push(onTheme(draw), () => sizes.disconnect(), () => chart.dispose());
      onChart?.(chart, echarts);
      draw();
    });
    return () => {
      gone = true;
      stops.forEach((stop) => stop());
      state.current.chart = null;
    };
  }, []);
  useEffect(draw, [option]);
  return html`<div ref=${box} class=${`chart ${className}`} role="img" aria-label=${label} data-testid=${testid}></div>`;
}

/** What all charts share. */
function base(theme) {
  return {
    animation: !calm(),
    animationDuration: 250,
    animationDurationUpdate: 200,
    textStyle: { fontFamily: 'system-ui, sans-serif', fontSize: 12, color: theme.text },
    backgroundColor: 'transparent',
    aria: { enabled: false },
    tooltip: tooltip(theme),
  };
}

export const tooltip = (theme) => ({
  renderMode: 'richText',
  confine: true,
  backgroundColor: theme.raised,
  borderColor: theme.line,
  borderWidth: 1,
  padding: [6, 9],
  textStyle: { color: theme.text, fontSize: 12 },
});

/** The look of an axis; spread an ECharts axis over it. */
export const axis = (theme, name = '') => ({
  name,
  nameLocation: 'middle',
  nameGap: 30,
  nameTextStyle: { color: theme.muted, fontSize: 12 },
  axisLine: { show: true, onZero: false, lineStyle: { color: theme.line } },
  axisTick: { show: true, lineStyle: { color: theme.line }, length: 4 },
  axisLabel: { color: theme.muted, fontSize: 11, hideOverlap: true },
  splitLine: { show: true, lineStyle: { color: theme.grid, width: 1 } },
  minorTick: { show: false },
});
