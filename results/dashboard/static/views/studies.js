// The list of studies.
import { html, useEffect, useState } from '../preact.js';
import { get, path } from '../api.js';
import { go, href } from '../parts/address.js';
import { ago, count, date, value } from '../parts/format.js';
import { Empty, Fault, Loading } from '../parts/states.js';

const AGAIN_MS = 5000;

/** The studies, asked for every few seconds while the page is looked at: a search may start at any time. */
function useStudies() {
  const [state, setState] = useState({});
  useEffect(() => {
    const abort = new AbortController();
    let timer = null;
    const ask = () => get(path('studies'), abort).then(
      ({ studies }) => setState({ studies }),
      (problem) => problem.name !== 'AbortError' && setState((known) => ({ ...known, problem })),
    ).then(() => { if (!abort.signal.aborted) timer = setTimeout(whenSeen, AGAIN_MS); });
    const whenSeen = () => (document.hidden ? (timer = setTimeout(whenSeen, AGAIN_MS)) : ask());
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, []);
  return state;
}

export default function Studies() {
  const { studies, problem } = useStudies();
  if (!studies) return problem ? html`<${Fault} problem=${problem} />` : html`<${Loading} what="the studies" />`;
  if (!studies.length) return html`<${Nothing} />`;
  return html`<h1>Studies</h1>
    <div class="panel wide"><table data-testid="studies">
      <thead><tr><th>Study</th><th>State</th><th class="optional">Looks for</th><th>Trials</th><th class="right">Best</th>
        <th class="right optional">Started</th></tr></thead>
      <tbody>${[...studies].reverse().map((study) => html`<${Row} key=${study.name} study=${study} />`)}</tbody>
    </table></div>`;
}

function Row({ study }) {
  const { name, task, strategy, seed, best } = study;
  const address = href(name, 'front');
  const open = (event) => !event.target.closest('a') && go(address);
  return html`<tr onClick=${open} data-testid=${`study-${name}`}>
    <td><a class="name" href=${address}>${name}</a>
      <div class="small muted optional">${task} · ${study.space} · ${strategy}, seed ${seed}</div></td>
    <td><span class=${`tag ${study.state}`}>${study.status}</span></td>
    <td class="optional">${study.goal}</td>
    <td><${Trials} study=${study} /></td>
    <td class="right">${best ? html`<strong>${value(best.value, best)}</strong> ${best.unit}
      <div class="small muted"><span class="optional">${best.key}, </span><a href=${href(name, 'trial', { arg: best.trial })}>trial ${best.trial}</a></div>` : '–'}</td>
    <td class="right optional" title=${date(study.created_at)}>${ago(study.created_at)}
      ${study.finished_at && html`<div class="small muted">ended ${ago(study.finished_at)}</div>`}</td>
  </tr>`;
}

function Trials({ study }) {
  const share = (n) => ({ width: `${study.trials ? (100 * n) / study.trials : 0}%` });
  return html`<span class="num">${count(study.complete)}</span><span class="muted"> of ${count(study.trials)} done</span>
    ${study.running > 0 && html`<span class="muted">, ${count(study.running)} running</span>`}
    ${study.failed > 0 && html`<span class="bad">, ${count(study.failed)} failed</span>`}
    <span class="meter" aria-hidden="true"><i style=${share(study.complete)}></i><i class="now"
      style=${share(study.running)}></i><i class="bad" style=${share(study.failed)}></i></span>`;
}

const Nothing = () => html`<${Empty} title="No study here yet">
  <p>A study appears as soon as a search starts and writes into the folder or data base that this dashboard reads. A first one,
    in about five minutes on two cores and without downloading anything:</p>
  <pre>pixelfront run examples/demo.toml</pre>
  <p>or a search of your own, within a budget:</p>
  <pre>pixelfront search --task sr-x4 --max-gmacs 6 --trials 24</pre>
  <p>If there should be studies: the dashboard reads <code>--runs DIR</code> or <code>--db URL</code>, as all commands do.</p>
</${Empty}>`;
