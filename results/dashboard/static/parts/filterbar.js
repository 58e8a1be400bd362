// The front's filters: stages as the legend's chips, the others behind buttons.
import { html, useEffect, useMemo, useRef } from '../preact.js';
import { count } from './format.js';
import { Glyph, STAGES } from './marks.js';
import { rangeText, readFilters } from './filters.js';

const toggled = (chosen, name) => (chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name]);
const text = (chosen) => chosen.join(',') || null;

/** How many trials have each name of a dictionary column. */
function tally(column, names) {
  const counts = new Map(names.map((name) => [name, 0]));
  for (const index of column) {
    if (index !== null && index !== undefined) counts.set(names[index], counts.get(names[index]) + 1);
  }
  return [...counts].filter(([, n]) => n > 0);
}

/** The legend, which filters: all stages are shown, or those pressed. */
export function StageChips({ store, query, setQuery }) {
  const { points } = store;
  const stages = useMemo(() => tally(points.stage, points.stages), [store.version]);
  const { stage } = readFilters(query);
  const ordered = stages.sort(([one], [other]) => STAGES.indexOf(one) - STAGES.indexOf(other));
  const press = (name) => {
    const all = ordered.map(([other]) => other);
    const next = toggled(stage.length ? stage : all, name);
    setQuery({ stage: next.length === all.length || !next.length ? null : text(next) });
  };
  return html`<div class="chips" role="group" aria-label="Stages">${ordered.map(([name, n]) => html`<button key=${name} type="button"
    class="chip" aria-pressed=${String(!stage.length || stage.includes(name))} data-testid=${`stage-${name}`}
    onClick=${() => press(name)}><${Glyph} stage=${name} />${name}<span class="num">${count(n)}</span></button>`)}</div>`;
}

/** Block kinds, depth and width, upsampler, state; only where there is something to choose. */
export function FilterBar({ store, query, setQuery }) {
  const { points } = store;
  const filters = readFilters(query);
  const known = useMemo(() => (store.features ? features(points) : null), [store.version, store.features]);
  const states = useMemo(() => tally(points.state, points.states), [store.version]);
  return html`
    ${known?.kinds.length > 1 && html`<${Pop} title="Blocks" testid="filter-kind" chosen=${filters.kind.length}>
      <fieldset><legend>Trials that have</legend>
        <div class="row">${[['any', false], ['all', true]].map(([name, all]) => html`<label key=${name}><input type="radio"
          name="kinds" checked=${filters.all === all} onChange=${() => setQuery({ kinds: all ? 'all' : null })} />${name} of</label>`)}</div>
        <${Options} options=${known.kinds} chosen=${filters.kind} testid="kind" onChange=${(kind) => setQuery({ kind: text(kind) })} />
      </fieldset></${Pop}>`}
    ${known && (known.depth || known.width) && html`<${Pop} title="Depth, width" testid="filter-size"
      chosen=${Number(Boolean(filters.depth)) + Number(Boolean(filters.width))}>
      ${['depth', 'width'].map((name) => known[name] && html`<${Range} key=${name} name=${name} bounds=${known[name]}
        chosen=${filters[name]} onChange=${(range) => setQuery({ [name]: range && rangeText(range) })} />`)}</${Pop}>`}
    ${known?.upsamplers.length > 1 && html`<${Pop} title="Upsampler" testid="filter-up" chosen=${filters.up.length}>
      <${Options} options=${known.upsamplers} chosen=${filters.up} testid="up" onChange=${(up) => setQuery({ up: text(up) })} /></${Pop}>`}
    ${states.length > 1 && html`<${Pop} title="State" testid="filter-state" chosen=${filters.state.length}>
      <${Options} options=${states} chosen=${filters.state} testid="state"
        onChange=${(state) => setQuery({ state: text(state) })} /></${Pop}>`}`;
}

function features(points) {
  const kinds = new Map();
  for (const uses of points.uses) for (const kind of new Set(uses)) kinds.set(points.kinds[kind], (kinds.get(points.kinds[kind]) ?? 0) + 1);
  const bounds = (column) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of column) {
      if (value !== null && value < low) low = value;
      if (value !== null && value > high) high = value;
    }
    return low < high ? [low, high] : null;
  };
  return {
    kinds: [...kinds].sort(([one], [other]) => one.localeCompare(other)),
    upsamplers: tally(points.upsampler, points.upsamplers),
    depth: bounds(points.depth),
    width: bounds(points.width),
  };
}

/** A button that opens a sheet; Escape and a click elsewhere close it. */
function Pop({ title, chosen, testid, children }) {
  const box = useRef(null);
  useEffect(() => {
    const close = (event) => {
      if (!box.current?.open) return;
      if (event.type === 'keydown' ? event.key === 'Escape' : !box.current.contains(event.target)) {
        box.current.open = false;
        if (event.type === 'keydown') {
          event.preventDefault();
          box.current.firstElementChild.focus();
        }
      }
    };
    addEventListener('pointerdown', close);
    addEventListener('keydown', close, true);
    return () => {
      removeEventListener('pointerdown', close);
      removeEventListener('keydown', close, true);
    };
  }, []);
  return html`<details class="pop" ref=${box}><summary class=${chosen ? 'set' : ''} data-testid=${testid}>${title}${
    chosen > 0 && ` · ${chosen}`}</summary><div class="sheet">${children}</div></details>`;
}

const Options = ({ options, chosen, testid, onChange }) => options.map(([name, n]) => html`<label key=${name}>
  <input type="checkbox" checked=${chosen.includes(name)} data-testid=${`${testid}-${name}`}
    onChange=${() => onChange(toggled(chosen, name))} />${name}<span class="num">${count(n)}</span></label>`);

function Range({ name, bounds, chosen, onChange }) {
  const ends = chosen ?? [null, null];
  const change = (at) => (event) => {
    const next = [...ends];
    next[at] = event.target.value === '' ? null : Number(event.target.value);
    onChange(next[0] === null && next[1] === null ? null : next);
  };
  const field = (at, says) => html`<input type="number" min=${bounds[0]} max=${bounds[1]} step="1" placeholder=${bounds[at]}
    value=${ends[at] ?? ''} aria-label=${`${says} ${name}`} data-testid=${`${name}-${at ? 'high' : 'low'}`} onChange=${change(at)} />`;
  return html`<fieldset><legend>${name[0].toUpperCase() + name.slice(1)}</legend><div class="row">${field(0, 'least')} to
    ${field(1, 'greatest')}</div></fieldset>`;
}
