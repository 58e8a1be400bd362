// Beside the front's chart: the selected trial, or what the study has found.
import { html } from '../preact.js';
import { href } from './address.js';
import { count, difference, duration, plural, value } from './format.js';
import { Glyph } from './marks.js';
import { ancestry, childrenOf } from './scatter.js';

export function Selection(props) {
  return html`<aside class="panel aside" aria-label=${props.row === null ? 'The study' : 'The selected trial'} data-testid="aside">
    ${props.row === null ? html`<${Summary} ...${props} />` : html`<${Chosen} ...${props} />`}</aside>`;
}

/** Trials as links that select. */
const Links = ({ numbers, onSelect }) => numbers.map((number, at) => html`<span key=${number}>${at > 0 && ', '}<button type="button"
  class="link num" onClick=${() => onSelect(number)}>${number}</button></span>`);

function Chosen({ study, store, number, x, y, front, inBasket, onToggle, onSelect }) {
  const trial = store.trial(number);
  const onFront = front.findIndex((member) => member.number === number);
  const children = (childrenOf(store).get(number) ?? []).map((row) => store.points.number[row]);
  const line = ancestry(store, trial.row).slice(1).map((row) => store.points.number[row]).reverse();
  return html`
    <h2><${Glyph} stage=${trial.stage} />Trial ${number}<span class="push"></span>
      <button type="button" class="quiet" aria-label="Select nothing" title="Close (Esc)" onClick=${() => onSelect(null)}>✕</button></h2>
    <div class="row"><span class=${`tag stage ${trial.stage}`}>${trial.stage}</span><span class=${`tag ${trial.state}`}>${trial.state}</span>
      ${onFront >= 0 && html`<span class="tag">front ${onFront + 1} of ${front.length}</span>`}</div>
    ${trial.label && html`<p class="what" data-testid="selected-label">${trial.label}</p>`}
    <${Values} study=${study} trial=${trial} axes=${[y, x]} />
    <dl class="facts">
      ${line.length > 0 && html`<dt>Made from</dt><dd><${Links} numbers=${line} onSelect=${onSelect} /></dd>`}
      ${children.length > 0 && html`<dt>Made of it</dt><dd><${Links} numbers=${children.slice(0, 12)} onSelect=${onSelect} />
        ${children.length > 12 && ` and ${count(children.length - 12)} more`}</dd>`}
      ${trial.digest && html`<dt>Digest</dt><dd class="mono">${trial.digest}</dd>`}
    </dl>
    <div class="row">
      <a class="button primary" href=${href(study.name, 'trial', { arg: number })} data-testid="open-trial">Open trial</a>
      <button type="button" aria-pressed=${String(inBasket)} onClick=${() => onToggle(number)} data-testid="add-compare">
        ${inBasket ? 'Remove from compare' : 'Add to compare'}</button>
    </div>`;
}

/** The axes' values first, then all others. */
function Values({ study, trial, axes }) {
  const known = [...new Set([...axes, ...study.columns])].filter((column) => Number.isFinite(trial.values[column.key] ?? NaN));
  if (!known.length) return html`<p class="muted">Nothing measured yet</p>`;
  return html`<table><tbody>${known.map((column) => {
    const measured = trial.values[column.key];
    const gain = column.key === study.objective && study.baseline ? measured - study.baseline.value : null;
    return html`<tr key=${column.key} title=${column.protocol}><th>${column.label}</th>
      <td class="right"><strong>${value(measured, column)}</strong> ${column.unit}
        ${gain !== null && html`<div class=${`small ${gain > 0 ? 'good' : 'bad'}`}>${difference(gain, column)} over ${study.baseline.name}</div>`}
      </td></tr>`;
  })}</tbody></table>`;
}

/** The front's member that the study looks for; on other axes the one with the best quality. */
function bestOf(study, front, x, y) {
  const own = x.key === study.cost && y.key === study.objective;
  const limit = own && study.budget.high !== null ? study.budget.high : Infinity;
  const within = own ? front.filter((member) => member.x <= limit) : front;
  const plain = study.objectives.includes('psnr') && study.objectives.includes('gmacs') && study.objectives.length === 2;
  if (own && plain && study.floor) return within.find((member) => member.y * (y.scale || 1) >= study.floor.value) ?? null;
  const sign = y.direction === 'max' ? 1 : -1;
  return within.reduce((best, member) => (best && sign * best.y >= sign * member.y ? best : member), null);
}

function Summary({ study, store, x, y, front, answer, onSelect }) {
  const best = bestOf(study, front, x, y);
  const { by_state: states } = study.counts;
  return html`
    <h2>${study.name}<span class=${`tag ${study.state}`}>${study.state}</span></h2>
    <p class="what">${study.goal}</p>
    ${best && html`<div class="pairs">
      <div><div class="muted small">best ${y.label}</div><div class="big">${value(best.y * (y.scale || 1), y)}</div>
        <div class="muted small">${y.unit}, trial <${Links} numbers=${[best.number]} onSelect=${onSelect} /></div></div>
      <div><div class="muted small">at</div><div class="big">${value(best.x * (x.scale || 1), x)}</div>
        <div class="muted small">${x.unit || x.label}</div></div></div>`}
    <dl class="facts">
      <dt>Task</dt><dd>${study.task}</dd>
      <dt>Space</dt><dd>${study.space.name}</dd>
      <dt>Strategy</dt><dd>${study.strategy}, seed ${study.seed}</dd>
      <dt>Trials</dt><dd>${Object.entries(states).filter(([, n]) => n > 0).map(([state, n]) => `${count(n)} ${state}`).join(', ') || 'none'}</dd>
      ${study.asks.duplicates + study.asks.rejected > 0 && html`<dt>Asked</dt><dd>${plural(study.asks.duplicates, 'duplicate')}, ${count(study.asks.rejected)} turned away, both free</dd>`}
      ${study.spent && html`<dt>Spent</dt><dd>${duration(study.spent.seconds)}, ${plural(study.spent.steps, 'step')}</dd>`}
    </dl>
    ${answer && html`<p class="muted small">Click a trial, or step through the front with the arrow keys. Drag a box to zoom.</p>`}`;
}
