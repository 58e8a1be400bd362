// Networks that aren't trained to the end, as they were at one rung: hollow on the chart, and a table of their own.
import { html } from '../preact.js';
import { href } from './address.js';
import { count, heading, plural, value } from './format.js';

export const OPEN = ['waiting', 'running', 'paused'];

/** Whether any trial is complete, and whether any hasn't ended. */
export function states(points) {
  const seen = new Set(points.state);
  const any = (names) => names.some((name) => seen.has(points.states.indexOf(name)));
  return { complete: any(['complete']), open: any(OPEN) };
}

/** The server's points as shown: [{number, row, x, y, member}] by rising x. */
export const earlyPoints = (answer, store, x, y) => (answer && answer.x.key === x.key && answer.y.key === y.key ? answer.points : [])
  .map((point) => ({ ...point, row: store.row(point.number), x: point.x / (x.scale || 1), y: point.y / (y.scale || 1) }))
  .filter(({ row }) => row !== undefined)
  .sort((one, other) => one.x - other.x);

const at = ({ step, steps }) => `step ${count(step)} of ${count(steps)}`;

export const EarlyHeadline = ({ answer, early }) => early.length > 0 && html`<span class="tag paused" data-testid="preliminary">preliminary:
  ${' '}${plural(early.length, 'network')} at ${at(answer)}</span>`;

/** On the chart: hollow, those of the preliminary front larger. */
export const EarlyMarks = ({ early, px, py }) => early.map(({ number, x, y, member }) => html`<circle key=${number}
  class=${`early stage search ${member ? 'best' : ''}`} cx=${px(x)} cy=${py(y)} r=${member ? 6 : 4} data-testid="early" />`);

export function EarlyMembers({ study, store, answer, early, x, y, onSelect }) {
  const members = early.filter(({ member }) => member);
  if (!members.length) return null;
  return html`<section class="panel members"><h2>Preliminary front: ${at(answer)}</h2>
    <p class="muted">Not trained to the end, and not comparable with networks that are.
      ${answer.command && html` To train them to the end: <code>${answer.command}</code>`}</p>
    <div class="wide"><table data-testid="early-members"><thead><tr><th class="right">Trial</th><th>State</th>
      <th class="optional">Architecture</th>
      ${[x, y].map((column) => html`<th key=${column.key} class="right" title=${column.protocol}>${heading(column)}</th>`)}</tr></thead>
    <tbody>${members.map((point) => html`<tr key=${point.number}
      onClick=${(event) => !event.target.closest('a') && onSelect(point.number)} data-testid=${`early-${point.number}`}>
      <td class="right"><a href=${href(study.name, 'trial', { arg: point.number })}>${point.number}</a></td>
      <td>${store.points.states[store.points.state[point.row]]}</td>
      <td class="optional label">${store.points.label?.[point.row] ?? ''}</td>
      <td class="right">${value(point.x * (x.scale || 1), x)}</td><td class="right">${value(point.y * (y.scale || 1), y)}</td>
    </tr>`)}</tbody></table></div></section>`;
}
