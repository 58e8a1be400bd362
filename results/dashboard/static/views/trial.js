// One trial: its network part by part, what was measured, where it comes from, its files.
import { html, useEffect, useState } from '../preact.js';
import { get, path, post } from '../api.js';
import { go, href } from '../parts/address.js';
import { announce } from '../parts/announce.js';
import { useBasket } from '../parts/basket.js';
import { LearningCurve, measured } from '../parts/curves.js';
import { OPEN } from '../parts/early.js';
import { bytes, count, date, duration, value } from '../parts/format.js';
import { useKeys } from '../parts/keys.js';
import { Network } from '../parts/network.js';
import { Fault, Loading } from '../parts/states.js';
import { wiring } from '../parts/wiring.js';

const DEEP = 14; // rows beyond which the network's column is the longer one without the learning curve

export default function Trial({ study, info, arg, store }) {
  const { trial, problem } = useTrial(study, arg ?? 'best', store);
  const costs = useCosts(study, trial?.number);
  const numbers = [...(store.points?.number ?? [])].sort((a, b) => a - b);
  const beside = (step) => trial && numbers[numbers.indexOf(trial.number) + step];
  const visit = (number) => (number === undefined ? false : go(href(study.name, 'trial', { arg: number })));
  useKeys('Trial', [
    { keys: ['j', 'n'], says: 'next trial', run: () => visit(beside(1)) },
    { keys: ['k', 'p'], says: 'trial before', run: () => visit(beside(-1)) },
  ]);
  if (problem) return html`<${Fault} problem=${problem} />`;
  if (!trial) return html`<${Loading} what=${`trial ${arg}`} />`;
  const deep = trial.architecture && wiring(trial.architecture).rows.length > DEEP;
  return html`<article class="trial" aria-label=${`Trial ${trial.number}`}>
    <${Heading} study=${study} info=${info} trial=${trial} before=${beside(-1)} after=${beside(1)} />
    <div class="trial-columns">
      <div class="trial-main">
        <section class="panel"><h2>Network</h2>
          ${trial.architecture && html`<${Network} architecture=${trial.architecture} costs=${costs.parts} />`}
          <${CostsNote} costs=${costs} pruned=${trial.architecture?.topology === 'pruned'} />
          <details class="json"><summary>Architecture as JSON</summary>
            <pre>${JSON.stringify(trial.architecture, null, 1)}</pre></details></section>
        ${!deep && html`<${Learning} study=${study} trial=${trial} />`}
      </div>
      <div class="trial-side">
        <${Early} study=${study} trial=${trial} />
        <${Measurements} study=${study} trial=${trial} />
        ${deep && html`<${Learning} study=${study} trial=${trial} />`}
        <${Lineage} study=${study} trial=${trial} />
        <${Files} trial=${trial} />
        <${Exports} key=${trial.number} study=${study} trial=${trial} />
        <${Commands} trial=${trial} />
      </div>
    </div>
  </article>`;
}

/** The trial's record, again when it changed. */
function useTrial(study, arg, store) {
  const [state, setState] = useState({});
  const [version, setVersion] = useState(0);
  useEffect(() => store.subscribe(({ kind, rows }) => {
    const here = kind === 'points' && (arg === 'best' || rows === null || rows.includes(store.row(Number(arg))));
    if (here) setVersion((n) => n + 1);
  }), [store, arg]);
  useEffect(() => {
    const abort = new AbortController();
    get(path('studies', study.name, 'trials', arg), abort).then((trial) => setState({ arg, trial }),
      (problem) => problem.name !== 'AbortError' && setState({ arg, problem }));
    return () => abort.abort();
  }, [study.name, arg, version]);
  return state.arg === arg ? state : {};
}

/** What each part costs: {parts, problem}; needs the server's worker, so it comes later. */
function useCosts(study, number) {
  const [state, setState] = useState({});
  useEffect(() => {
    if (number === undefined) return undefined;
    const abort = new AbortController();
    get(path('studies', study.name, 'trials', number, 'parts'), abort).then((parts) => setState({ number, parts }),
      (problem) => problem.name !== 'AbortError' && setState({ number, problem }));
    return () => abort.abort();
  }, [study.name, number]);
  return state.number === number ? state : {};
}

function Heading({ study, info, trial, before, after }) {
  const [basket, toggle] = useBasket(study.name, info.limits.compare);
  const chosen = basket.includes(trial.number);
  const step = (number, text, says, testid) => (number === undefined
    ? html`<span class="button off" aria-hidden="true">${text}</span>`
    : html`<a class="button" href=${href(study.name, 'trial', { arg: number })} aria-label=${`${says}: ${number}`}
        data-testid=${testid}>${text}</a>`);
  const facts = [
    trial.digest, trial.seconds !== null && `trained for ${duration(trial.seconds)}`,
    trial.attempts > 1 && `${trial.attempts} attempts`, date(trial.finished_at ?? trial.started_at ?? trial.created_at),
  ];
  return html`<header class="trial-head">
    <div><h1><span class="muted">#${trial.number}</span> ${trial.label}</h1>
      <p><span class=${`tag stage ${trial.stage}`}>${trial.stage}</span>${' '}
        <span class=${`tag ${trial.state}`} data-testid="trial-state">${trial.state}</span>${' '}
        <span class="muted">${facts.filter(Boolean).join(', ')}</span></p>
      ${trial.reason && html`<pre class="problem">${trial.reason}</pre>`}</div>
    <div class="row">
      ${step(before, '←', 'Trial before', 'previous')}${step(after, '→', 'Next trial', 'next')}
      <a class="button" href=${href(study.name, 'front', { query: { sel: trial.number } })}>In the front</a>
      <button type="button" aria-pressed=${chosen} onClick=${() => toggle(trial.number)} data-testid="to-compare">
        ${chosen ? 'Put aside to compare' : 'Compare'}</button>
    </div></header>`;
}

function CostsNote({ costs, pruned }) {
  if (costs.problem) return html`<p class="problem" role="alert">${costs.problem.message}</p>`;
  if (!costs.parts) return html`<p class="muted" role="status">The cost of each part is being counted …</p>`;
  const { input, convention } = costs.parts;
  return html`<p class="protocol">At an input of ${input}; MACs counted by the convention “${convention}”.
    A box is as wide as its channels and as strong in colour as its share; pink lines add, grey ones concatenate or
    feed.${pruned && ' Dashed: the width before pruning.'}</p>`;
}

/** Of a trial that isn't trained to the end: its scores at its last rung. */
function Early({ study, trial }) {
  const rung = trial.rungs.at(-1);
  if (!OPEN.includes(trial.state) || !rung?.measurements.length) return null;
  const of = trial.stage === 'search' && study.limits.steps ? ` of ${count(study.limits.steps)}` : '';
  const column = (m) => study.columns.find(({ name, protocol }) => name === m.name && protocol === m.protocol)
    ?? { label: m.name, unit: m.unit, kind: 'quality' };
  return html`<section class="panel" data-testid="early-scores"><h2>Preliminary: step ${count(rung.step)}${of}</h2>
    <p class="muted">Not trained to the end, and not comparable with networks that are.</p>
    <table class="measurements"><tbody>${rung.measurements.map((m) => html`<${Measured} key=${`${m.name} ${m.protocol}`}
      m=${{ ...m, column: column(m) }} label=${column(m).label.split(',')[0]} note=${m.protocol} />`)}</tbody></table></section>`;
}

function Measurements({ study, trial }) {
  const known = trial.measurements.map((m) => {
    const column = study.columns.find(({ name, protocol }) => name === m.name && protocol === m.protocol);
    return { ...m, column: column ?? { label: m.name, unit: m.unit, kind: 'quality' } };
  });
  const objective = study.columns.find(({ key }) => key === study.objective);
  const last = ([protocol]) => protocol !== objective.protocol;
  const better = { max: 'higher is better', min: 'lower is better' };
  const scores = Object.groupBy(known.filter(({ column }) => column.kind === 'quality'), ({ protocol }) => protocol);
  const others = known.filter(({ column }) => column.kind !== 'quality');
  return html`<section class="panel" data-testid="measurements"><h2>Measurements</h2>
    ${!known.length && html`<p class="muted">None yet.</p>`}
    ${Object.entries(scores).sort((a, b) => last(a) - last(b)).map(([protocol, list]) => html`<table key=${protocol}
      class="measurements"><caption>${protocol}</caption><tbody>${list.map((m) => html`<${Measured} key=${m.name} m=${m}
        label=${m.column.label.split(',')[0]} note=${better[m.direction]} />`)}
      </tbody></table>`)}
    ${others.length > 0 && html`<table class="measurements"><caption>Costs, with how each is counted</caption>
      <tbody>${others.map((m) => html`<${Measured} key=${`${m.name} ${m.protocol}`} m=${m} label=${m.column.label}
        note=${m.protocol} />`)}</tbody></table>`}
  </section>`;
}

const Measured = ({ m, label, note }) => html`<tr><th scope="row" title=${m.name}>${label}</th>
  <td class="right">${value(m.value, m.column)}${unit(m.column.unit)}</td><td class="muted">${note}</td></tr>`;

const unit = (text) => (text && text !== '1' ? ` ${text}` : '');

function Learning({ study, trial }) {
  const column = study.columns.find(({ key }) => key === study.objective);
  if (!trial.rungs.length) return null;
  const row = ({ attempt, step, loss, seconds, measurements }) => html`<tr key=${`${attempt} ${step}`}>
    <td class="right">${count(step)}</td><td class="right">${value(measured(measurements, column), column)}</td>
    <td class="right">${loss === null ? '–' : loss.toPrecision(4)}</td>
    <td class="right">${duration(seconds)}</td></tr>`;
  return html`<section class="panel"><h2>Learning curve</h2>
    <${LearningCurve} rungs=${trial.rungs} metric=${column} />
    <details><summary>As a table</summary><table>
      <thead><tr>${['Step', column.label, 'Loss', 'Time'].map((title) => html`<th key=${title} scope="col"
        class="right">${title}</th>`)}</tr></thead>
      <tbody>${trial.rungs.map(row)}</tbody></table></details></section>`;
}

function Lineage({ study, trial }) {
  if (trial.lineage.length < 2 && !trial.children.length) return null;
  const lite = ({ number, stage, label }) => html`<li key=${number}>
    ${number === trial.number ? html`<strong aria-current="true">#${number}</strong>`
      : html`<a href=${href(study.name, 'trial', { arg: number })}>#${number}</a>`}${' '}
    <span class=${`tag stage ${stage}`}>${stage}</span> <span class="muted">${label}</span></li>`;
  return html`<section class="panel" data-testid="lineage"><h2>Lineage</h2>
    ${trial.lineage.length > 1 && html`<ol class="lineage">${trial.lineage.map(lite)}</ol>`}
    ${trial.children.length > 0 && html`<h3>Made from it</h3>
      <ul class="lineage">${trial.children.map(lite)}</ul>`}</section>`;
}

function Files({ trial }) {
  if (!trial.files.length) return null;
  const named = ({ id, name, available }) => (available
    ? html`<a href=${`/api/v1/files/${encodeURIComponent(id)}`} download>${name}</a>`
    : html`<span title="The file is not where the study keeps it">${name} (missing)</span>`);
  return html`<section class="panel"><h2>Files</h2><table class="files"><tbody>
    ${trial.files.map((file) => html`<${FileRow} key=${file.id} file=${file}>${named(file)}
      <span class="block muted">${file.kind}</span><//>`)}</tbody></table></section>`;
}

/** A file's name, given as children, its size and digest. */
const FileRow = ({ file, children }) => html`<tr><th scope="row">${children}</th>
  <td class="right">${bytes(file.bytes)}</td><td><${Digest} sha256=${file.sha256} /></td></tr>`;

const Digest = ({ sha256 }) => html`<span class="digest"><code title=${sha256}>${sha256.slice(0, 12)}</code>
  <${Copy} text=${sha256} what="SHA-256" /></span>`;

const FORMATS = { onnx: 'ONNX', pt2: 'pt2', safetensors: 'safetensors' };

function Exports({ study, trial }) {
  const [made, setMade] = useState({});
  const trained = trial.state === 'complete';
  const run = async (format) => {
    setMade((known) => ({ ...known, [format]: { busy: true } }));
    try {
      const result = await post(path('studies', study.name, 'trials', trial.number, 'export'), { format });
      setMade((known) => ({ ...known, [format]: { result } }));
      announce(`${FORMATS[format]} is ready`);
    } catch (problem) {
      setMade((known) => ({ ...known, [format]: { problem } }));
    }
  };
  return html`<section class="panel" data-testid="exports"><h2>Export</h2>
    ${!trained && html`<p class="muted">There are weights to export once the trial is complete.${trial.rungs.length > 0 && OPEN.includes(trial.state)
      && html` As it is: <code>pixelfront export ${study.name} ${trial.number} --preliminary -o early.onnx</code>`}</p>`}
    <div class="row">${Object.entries(FORMATS).map(([format, title]) => html`<button key=${format} type="button"
      disabled=${!trained || made[format]?.busy} data-testid=${`export-${format}`} onClick=${() => run(format)}>
      ${made[format]?.busy && html`<i class="spinner" aria-hidden="true"></i> `}${title}</button>`)}</div>
    ${Object.entries(made).map(([format, state]) => html`<${Exported} key=${format} format=${format}
      state=${state} />`)}
  </section>`;
}

function Exported({ format, state }) {
  const title = FORMATS[format];
  if (state.busy) return html`<p role="status" class="muted">${title}: written, and checked against PyTorch …</p>`;
  if (state.problem) return html`<p class="problem" role="alert">${title}: ${state.problem.message}</p>`;
  const { files, max_error: error, sizes, seconds, command } = state.result;
  const at = sizes.length > 0 && ` at ${sizes.map((size) => size.join('×')).join(', ')}`;
  const differs = error === 0 ? 'The same as PyTorch' : `Differs from PyTorch by at most ${error?.toExponential(1)}`;
  return html`<div class="exported" data-testid=${`exported-${format}`}>
    <table class="files"><tbody>${files.map((file, i) => html`<${FileRow} key=${file.id} file=${file}>
      <a href=${file.url} download data-testid=${i ? undefined : `download-${format}`}>${file.name}</a><//>`)}
    </tbody></table>
    <p class="protocol">${error !== null && html`${differs}${at}.${' '}`}
      Made in ${duration(seconds)}; kept until the dashboard ends.</p>
    <${Command} text=${command} /></div>`;
}

function Commands({ trial }) {
  const weights = trial.state === 'complete';
  const named = Object.entries(trial.command).filter(([name]) => weights || name === 'show');
  if (!named.length) return null;
  return html`<section class="panel"><h2>On the command line</h2>
    ${named.map(([name, text]) => html`<${Command} key=${name} text=${text} />`)}</section>`;
}

const Command = ({ text }) => html`<div class="command"><code>${text}</code>
  <${Copy} text=${text} what="the command" /></div>`;

function Copy({ text, what }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    announce(`Copied ${what}`);
    setTimeout(() => setDone(false), 1500);
  };
  // Browsers lend the clipboard to pages from this machine or by HTTPS only.
  return navigator.clipboard && html`<button type="button" class="quiet small" onClick=${copy}
    aria-label=${`Copy ${what}`} data-testid="copy">${done ? 'Copied' : 'Copy'}</button>`;
}
