// The front as a table: what the chart shows, for reading, copying and screen readers.
import { html } from '../preact.js';
import { href } from './address.js';
import { difference, heading, plural, value } from './format.js';
import { Glyph } from './marks.js';

/** The axes, the vertical one's metric under the study's other protocols (on the test images, say), the parameters. */
function shownColumns(study, x, y) {
  const named = (name) => study.columns.filter((column) => column.name === name && column.count > 0);
  return [...new Set([x, y, ...named(y.name).slice(0, 3), ...named('parameters').slice(0, 1)])];
}

export function Members({ study, store, front, x, y, number, basket, onToggle, onSelect, waiting, filtered }) {
  const columns = shownColumns(study, x, y);
  const narrow = (column) => (column === x || column === y ? 'right' : 'right optional');
  const over = y.key === study.objective ? study.baseline : null;
  if (!front.length) {
    return html`<section class="panel members"><h2>The front</h2><p class="muted" data-testid="no-members">${waiting ? 'Computing …'
      : filtered ? 'No complete trial passes these filters and is worth something.'
        : `No complete trial is better than ${study.baseline?.name ?? 'nothing'} yet.`}</p></section>`;
  }
  return html`<section class="panel members"><h2>The front</h2><div class="wide"><table data-testid="members">
    <caption class="unseen">${plural(front.length, 'member')} of the front by rising ${x.label}</caption>
    <thead><tr><th class="right">Trial</th><th>Stage</th><th class="optional">Architecture</th>
      ${columns.map((column) => html`<th key=${column.key} class=${narrow(column)} title=${column.protocol}>${heading(column)}</th>`)}
      ${over && html`<th class="right">over ${over.name}</th>`}<th><span class="unseen">Compare</span></th></tr></thead>
    <tbody>${front.map((member) => html`<tr key=${member.number} aria-selected=${String(member.number === number)}
      onClick=${(event) => !event.target.closest('a, button') && onSelect(member.number)} data-testid=${`member-${member.number}`}>
      <td class="right"><a href=${href(study.name, 'trial', { arg: member.number })}>${member.number}</a></td>
      <td><${Glyph} stage=${member.stage} /> <span class="optional">${member.stage}</span></td>
      <td class="optional label">${store.points.label?.[member.row] ?? ''}</td>
      ${columns.map((column) => html`<td key=${column.key} class=${narrow(column)}>${value(store.points.values[column.key]?.[member.row], column)}</td>`)}
      ${over && html`<td class="right">${difference(member.y * (y.scale || 1) - over.value, y)}</td>`}
      <td class="right"><button type="button" class="link ghost" aria-pressed=${String(basket.includes(member.number))}
        aria-label=${`Compare trial ${member.number}`} onClick=${() => onToggle(member.number)}>
        ${basket.includes(member.number) ? 'chosen' : 'compare'}</button></td>
    </tr>`)}</tbody></table></div></section>`;
}
