// An architecture drawn from top to bottom beside a table of what each part costs. A box is as wide as its
// channels and as strong in colour as its share of the cost; the dashed box is what pruning started from; further
// right is a smaller map; the lines at the left are skips and concatenations.

import { html } from '../preact.js';
import { wiring } from './wiring.js';

const ROW = 38;
const HEAD = 30;
const LANE = 9;
const STEP = 16; // further right for each halving of the map
const WIDEST = 64;
const BOX = 18;

/**
 * @param architecture its JSON object.
 * @param costs what /parts says, null until it is there.
 */
export function Network({ architecture, costs }) {
  const { rows, links } = withCosts(wiring(architecture), costs);
  const drawing = layOut(rows, links);
  const most = Math.max(...rows.map((row) => row.cost?.share ?? 0)) || 1;
  return html`<div class="network" data-testid="network" style=${{ '--drawing': `${drawing.width}px` }}>
    <${Drawing} ...${drawing} rows=${rows} most=${most} />
    <table>
      <caption class="unseen">Parts of the network in forward order, with the cost of each</caption>
      <thead style=${{ height: `${HEAD}px` }}>
        <tr>
          <th scope="col">Part</th>
          <th scope="col" class="net-channels">Channels</th>
          <th scope="col" class="net-cost">GMACs</th>
          <th scope="col" class="right net-parameters">Params</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((row) => html`<${Row} key=${row.name} row=${row} most=${most} waiting=${!costs} />`)}
      </tbody>
      ${costs && html`<${Total} costs=${costs} />`}
    </table>
  </div>`;
}

function Row({ row, most, waiting }) {
  const end = !row.cost && ['input', 'output', 'stored'].includes(row.name);
  return html`<tr style=${{ height: `${ROW}px` }} class=${end ? 'net-end' : ''} data-part=${row.name}>
    <th scope="row" title=${row.kind ? `${row.label}: ${row.kind}` : row.label}>
      <span class="net-label">${row.label}</span>
      ${row.kind && html`<span class="net-kind">${row.kind}</span>`}
    </th>
    <td class="net-channels">${channels(row)}</td>
    ${end
      ? html`<td class="net-cost"></td><td class="right net-parameters"></td>`
      : html`<td class="net-cost">${row.cost ? html`<${Share} cost=${row.cost} most=${most} />`
            : waiting ? '…' : '–'}</td>
          <td class="right net-parameters">${row.cost ? count(row.cost.parameters) : ''}</td>`}
  </tr>`;
}

function Share({ cost, most }) {
  return html`<span class="net-bar" aria-hidden="true"
      ><span style=${{ width: `${Math.max((cost.share / most) * 100, 0.5)}%` }}></span></span
    ><span class="net-figure">${gmacs(cost.macs)}</span> <span class="net-kind">${percent(cost.share)}</span>`;
}

function Total({ costs }) {
  const { total } = costs;
  return html`<tfoot><tr>
    <th scope="row">
      <span class="net-label">Total</span>
      <span class="net-kind">${count(total.activations)} activations, ${total.convolutions} convolutions</span>
    </th>
    <td class="net-channels"></td>
    <td class="net-cost"><span class="net-figure">${gmacs(total.macs)} GMACs</span></td>
    <td class="right net-parameters">${count(total.parameters)}</td>
  </tr></tfoot>`;
}

function channels(row) {
  const [from, to] = [row.cost?.width_in ?? row.from, row.cost?.width_out ?? row.width];
  if (from == null && to == null) return '';
  return from == null || from === to ? `${to ?? from}` : `${from} → ${to ?? '?'}`;
}

/** Rows with their costs; parts that the wiring doesn't know come before the output. */
function withCosts({ rows, links }, costs) {
  const named = new Map((costs?.parts ?? []).map((part) => [part.name, part]));
  const known = rows.map((row) => ({ ...row, cost: named.get(row.name) }));
  rows.forEach((row) => named.delete(row.name));
  const rest = [...named.values()].map((part) => ({ ...part, level: 0, width: part.width_out, cost: part }));
  if (!rest.length) return { rows: known, links };
  const end = known.at(-1)?.name === 'output' ? known.length - 1 : known.length;
  return { rows: [...known.slice(0, end), ...rest, ...known.slice(end)], links };
}

/** Where everything is: {width, height, boxes, path, buses}. */
function layOut(rows, links) {
  const widest = Math.max(1, ...rows.map((row) => Math.max(row.width ?? 0, row.cost?.width_out ?? 0)));
  const deepest = Math.max(0, ...rows.map((row) => row.level));
  const buses = intoLanes(links);
  const left = 8 + LANE * Math.max(0, ...buses.map((bus) => bus.lane + 1));
  const centre = (row) => left + WIDEST / 2 + row.level * STEP + 4;
  const boxes = rows.map((row, i) => ({
    x: centre(row),
    y: HEAD + i * ROW + ROW / 2,
    wide: boxWidth(row.cost?.width_out ?? row.width, widest),
    base: row.cost && row.width > row.cost.width_out ? boxWidth(row.width, widest) : 0,
    share: row.cost?.share ?? null,
    side: row.side,
    end: ['input', 'output', 'stored'].includes(row.name),
  }));
  const loops = links.filter(({ from, to }) => from === to).map(({ from }) => from);
  return {
    width: left + WIDEST + deepest * STEP + 12,
    height: HEAD + rows.length * ROW,
    boxes,
    loops,
    buses: buses.map((bus) => ({ ...bus, x: left - LANE * (bus.lane + 1) + 2 })),
  };
}

const boxWidth = (width, widest) => (width ? 10 + (WIDEST - 10) * (width / widest) : 22);

/** Links with the same end and kind share a line; lines that overlap get lanes of their own, short ones inside. */
function intoLanes(links) {
  const buses = new Map();
  for (const link of links) {
    const key = `${link.to} ${link.how} ${link.joins}`;
    const bus = buses.get(key) ?? { ...link, taps: [] };
    bus.taps.push(link.from);
    buses.set(key, bus);
  }
  const placed = [];
  const spanning = [...buses.values()].filter((bus) => bus.taps[0] !== bus.to);
  for (const bus of spanning.sort((a, b) => a.to - Math.min(...a.taps) - (b.to - Math.min(...b.taps)))) {
    const [first, last] = [Math.min(...bus.taps), bus.to];
    let lane = 0;
    while (placed.some((o) => o.lane === lane && first <= o.last && o.first <= last)) lane += 1;
    placed.push({ ...bus, first, last, lane });
  }
  return placed;
}

function Drawing({ rows, boxes, buses, loops, width, height, most }) {
  return html`<svg class="net-drawing" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}
    role="img" aria-label=${`The network as a drawing: ${rows.length} parts from top to bottom`}>
    <path class="net-flow" d=${mainPath(boxes)} />
    ${buses.map((bus) => html`<${Bus} bus=${bus} boxes=${boxes} />`)}
    ${loops.map((i) => html`<${Joined} box=${boxes[i]} />`)}
    ${boxes.map((box, i) => html`<${Box} box=${box} row=${rows[i]} most=${most} />`)}
  </svg>`;
}

/** Down the middle, to the right and back where the map's size changes, past what isn't on the main path. */
function mainPath(boxes) {
  const main = boxes.filter((box) => !box.side);
  return main.map(({ x, y }, i) => {
    if (!i) return `M${x} ${y}`;
    const before = main[i - 1];
    return before.x === x ? `V${y}` : `V${y - ROW / 2 - 3}L${x} ${y - ROW / 2 + 3}V${y}`;
  }).join('');
}

function Bus({ bus, boxes }) {
  const end = boxes[bus.to];
  const leave = (box) => box.y + BOX / 2 + 3;
  const arrive = bus.joins === 'after' ? end.y + BOX / 2 + 5 : end.y - BOX / 2 - 4;
  const first = boxes[bus.first];
  const taps = bus.taps.map((i) => `M${anchor(boxes[i])} ${leave(boxes[i])}H${bus.x + 4}`).join('');
  const line = `M${bus.x + 4} ${leave(first)}Q${bus.x} ${leave(first)} ${bus.x} ${leave(first) + 4}V${arrive - 4}`
    + `Q${bus.x} ${arrive} ${bus.x + 4} ${arrive}H${anchor(end)}`;
  const others = bus.taps.filter((i) => i !== bus.first);
  const joints = others.map((i) => `M${bus.x + 4} ${leave(boxes[i])}H${bus.x}`).join('');
  return html`<g class=${`net-link net-${bus.how}`}>
    <path d=${taps + line + joints}><title>${bus.text || bus.how}</title></path>
    ${bus.how === 'add'
      ? html`<${Plus} x=${anchor(end)} y=${arrive} />`
      : html`<circle class="net-dot" cx=${anchor(end)} cy=${arrive} r="2" />`}
  </g>`;
}

/** What a side box gives is added to the main path beside it. */
function Joined({ box }) {
  const y = box.y + BOX / 2 + 6;
  return html`<g class="net-link net-add"><path d=${`M${anchor(box)} ${box.y}V${y}H${box.x}`} />
    <${Plus} x=${box.x} y=${y} /></g>`;
}

const Plus = ({ x, y }) => html`<circle cx=${x} cy=${y} r="4.5" />
  <path d=${`M${x - 2.5} ${y}h5M${x} ${y - 2.5}v5`} />`;

/** A side box stands left of the main path. */
const anchor = (box) => (box.side ? box.x - 20 : box.x);

function Box({ box, row, most }) {
  const wide = box.side ? Math.min(box.wide, 22) : box.wide;
  const x = anchor(box) - wide / 2;
  const shade = box.share === null ? 12 : Math.round(14 + 86 * Math.sqrt(box.share / most));
  return html`<g class=${`net-box${box.end ? ' net-end' : ''}`} style=${{ '--shade': `${shade}%` }}>
    <title>${row.label}</title>
    ${box.base > 0 && html`<rect class="net-base" rx="3" x=${box.x - box.base / 2} y=${box.y - BOX / 2 - 2}
      width=${box.base} height=${BOX + 4} />`}
    <rect rx=${box.end ? 9 : 3} x=${x} y=${box.y - BOX / 2} width=${wide} height=${BOX} />
  </g>`;
}

const digits = (value, most) => value.toLocaleString('en', { maximumSignificantDigits: most });

/** Giga-MACs without the unit. */
const gmacs = (macs) => digits(macs / 1e9, 3);

/** `812`, `41.3 K`, `1.02 M`. */
function count(n) {
  if (n < 10_000) return n.toLocaleString('en');
  return n < 1e6 ? `${digits(n / 1e3, 3)} K` : n < 1e9 ? `${digits(n / 1e6, 3)} M` : `${digits(n / 1e9, 3)} G`;
}

const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
