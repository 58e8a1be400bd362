// How a study is doing, live; of a finished one what came out.
//
// Address: by=steps (the hypervolume's axis).
import { html, useEffect, useMemo, useRef, useState } from '../preact.js';
import { get, path } from '../api.js';
import { href } from '../parts/address.js';
import { Growth, Spark, measured } from '../parts/curves.js';
import { ago, count, date, difference, duration, plural, value } from '../parts/format.js';
import { Fault, Loading, useAnswer, useStore } from '../parts/states.js';

const AGAIN_MS = 2000;

export default function Progress({ study, query, setQuery, store }) {
  useStore(store, ['progress', 'connection', 'points']);
  const { answer: asked, problem } = useAnswer(path('studies', study.name, 'progress'), store,
    ({ kind }) => kind === 'changed' || kind === 'points', AGAIN_MS);
  const best = useBest(study);
  const hypervolume = useMemo(() => shown(asked?.hypervolume, study), [asked, study.columns]);
  if (!asked) return problem ? html`<${Fault} problem=${problem} />` : html`<${Loading} what="the progress" />`;
  const pushed = store.progress && store.progress.revision >= asked.revision ? store.progress : {};
  const progress = { ...asked, ...pushed, hypervolume };
  return html`<section class="progress" aria-label="Progress of the study">
    <${Summary} study=${study} progress=${progress} best=${best} />
    <${Spent} study=${study} progress=${progress} store=${store} />
    <${Hypervolume} progress=${progress} by=${query.by ?? 'time'} setQuery=${setQuery} />
    ${(progress.state === 'running' || progress.running.length > 0)
      && html`<${Running} study=${study} progress=${progress} />`}
    <${Failures} study=${study} failures=${progress.failures} />
  </section>`;
}

/** The hypervolume in the units that the cost is shown in. */
function shown(hypervolume, study) {
  const [cost, quality] = [study.cost, study.objective].map((key) => study.columns.find((each) => each.key === key));
  if (!hypervolume || !cost || !quality) return hypervolume;
  const scaled = (points) => points.map(([at, volume]) => [at, volume / cost.scale]);
  const unit = `${cost.unit} × ${quality.unit}`;
  return { ...hypervolume, unit, by_time: scaled(hypervolume.by_time), by_steps: scaled(hypervolume.by_steps) };
}

function useBest(study) {
  const [best, setBest] = useState(null);
  useEffect(() => {
    if (study.best === null) return setBest(null);
    const abort = new AbortController();
    get(path('studies', study.name, 'trials', study.best), abort).then(setBest, () => setBest(null));
    return () => abort.abort();
  }, [study.name, study.revision]);
  return best;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
const STATES = { running: 'Running', complete: 'Complete', paused: 'Paused', failed: 'Failed' };

function Summary({ study, progress, best }) {
  const { by_state: states } = study.counts;
  const { state, hypervolume } = progress;
  const [quality, cost] = [study.objective, study.cost].map((key) => study.columns.find((each) => each.key === key));
  const found = measured(best?.measurements, quality);
  const volume = hypervolume?.by_time.at(-1)?.[1];
  return html`<div class="panel summary">
    <div class="headline"><span class=${`tag ${state}`} data-testid="state">${state === 'paused' ? capital(progress.status) : STATES[state] ?? state}</span>
      <h1>Goal: ${study.goal}</h1></div>
    <p class="muted">${study.task}, ${study.strategy}, seed ${study.seed}; begun${' '}
      <time datetime=${study.created_at} title=${date(study.created_at)}>${ago(study.created_at)}</time>
      ${study.finished_at && `, ended ${ago(study.finished_at)}`}</p>
    <dl class="tiles">
      <${Tile} title="Complete" figure=${count(states.complete ?? 0)} testid="complete" />
      <${Tile} title="Running" figure=${count(progress.running.length)} testid="running"
        note=${[[progress.waiting, 'waiting'], [states.paused, 'paused at a rung']]
          .filter(([number]) => number > 0).map(([number, what]) => `${count(number)} ${what}`).join(', ')} />
      <${Tile} title="Failed" figure=${count(states.failed ?? 0)} bad=${states.failed > 0} testid="failed" />
      ${found !== null && html`<${Tile} title="Best" figure=${`${value(found, quality)} ${quality.unit}`} testid="best"
        note=${html`<a href=${href(study.name, 'trial', { arg: best.number })}>trial ${best.number}</a>,${' '}
          ${value(measured(best.measurements, cost), cost)} ${cost.unit}`} />`}
      ${found !== null && study.baseline.value !== null && html`<${Tile} title=${`Over ${study.baseline.name}`}
        figure=${`${difference(found - study.baseline.value, quality)} ${quality.unit}`} />`}
      ${volume !== undefined && html`<${Tile} title="Hypervolume" figure=${short(volume)} note=${hypervolume.unit} />`}
    </dl>
    ${state !== 'running' && found !== null && html`<${Next} study=${study} best=${best} />`}
  </div>`;
}

/** Where to go from a study that is over. */
const Next = ({ study, best }) => html`<p class="row">
  <a class="button" href=${href(study.name, 'front')}>The front</a>
  <a class="button" href=${href(study.name, 'trial', { arg: best.number })} data-testid="take">Take the best network</a>
  <a class="button" href=${href(study.name, 'compare', { query: { trials: best.number } })}>See it on a picture</a>
</p>`;

const short = (volume) => (volume === 0 ? '0' : volume.toPrecision(4));

const Tile = ({ title, figure, note, bad = false, testid }) => html`<div class="tile">
  <dt>${title}</dt><dd data-testid=${testid && `tile-${testid}`}>
  <span class=${`figure${bad ? ' bad' : ''}`}>${figure}</span>
  ${note && html`<span class="note">${note}</span>`}</dd></div>`;

function Spent({ study, progress, store }) {
  const { spent, limits, asks } = progress;
  const searched = useMemo(() => endedInSearch(store.points), [store.version]);
  const others = spent.trials - searched;
  const wall = wallTime(study, progress);
  const { low, high, unit } = study.budget;
  return html`<div class="panel budget"><h2>Budget</h2>
    <${Meter} title="Trials" used=${searched} limit=${limits.trials} text=${count}
      note=${others > 0 && `; ${count(others)} more in other stages`} />
    ${wall !== null && html`<${Meter} title="Time" used=${wall} limit=${limits.seconds} text=${duration} />`}
    <p class="gauge"><span class="gauge-name">Training</span><span class="gauge-figure">${count(spent.steps)} steps
      ${limits.steps && `, at most ${count(limits.steps)} a trial`}
      ${spent.seconds > 0 && `; ${duration(spent.seconds)} of all workers together`}</span></p>
    <p class="muted" data-testid="asks">${plural(asks.trials, 'architecture')} went to training.
      For free: ${plural(asks.duplicates, 'duplicate')} known already,
      ${' '}${plural(asks.rejected, 'proposal')} turned away before any
      training${asks.rejected > 0 && ` (${Object.entries(asks.turned_away).map(([by, n]) => `${count(n)} by the ${by}`).join(', ')})`}.</p>
    ${high !== null && html`<p class="muted">The search proposes only networks of
      ${low ? ` ${low} to` : ' at most'} ${high} ${unit}.</p>`}
  </div>`;
}

/** Trials of the search that are over; a study's limit counts only those. */
function endedInSearch(points) {
  if (!points) return 0;
  const search = points.stages.indexOf('search');
  const over = ['complete', 'failed'].map((state) => points.states.indexOf(state));
  return points.stage.reduce((sum, stage, row) => sum + (stage === search && over.includes(points.state[row])), 0);
}

/** Seconds from the start to the end, or to now; null where it isn't known when the study was paused. */
function wallTime(study, { state }) {
  const end = state === 'running' ? Date.now() : study.finished_at && new Date(study.finished_at);
  return end && Math.max(0, (end - new Date(study.created_at)) / 1000);
}

function Meter({ title, used, limit, text, note }) {
  const left = limit - used; // below zero where stages after the search, which alone is limited, took time too
  const of = !limit ? ', no limit' : left < 0 ? `; the search's limit was ${text(limit)}` : ` of ${text(limit)}, ${text(left)} left`;
  const says = `${text(used)}${of}`;
  return html`<p class="gauge"><span class="gauge-name">${title}</span>
    ${limit && html`<span class="bar" role="meter" aria-label=${title} aria-valuemin="0" aria-valuemax=${limit}
      aria-valuenow=${used} aria-valuetext=${says}><${Filled} share=${used / limit} /></span>`}
    <span class="gauge-figure">${says}${note}</span></p>`;
}

const Filled = ({ share }) => html`<span style=${{ width: `${100 * Math.min(1, share)}%` }}></span>`;

function Running({ study, progress }) {
  return html`<div class="panel now"><h2>Running now</h2>
    ${progress.running.length === 0 && html`<p class="muted">No trial is training at the moment.</p>`}
    <ul class="runners">${progress.running.map((trial) => html`<${Runner} key=${trial.number} study=${study}
      trial=${trial} />`)}</ul></div>`;
}

function Runner({ study, trial }) {
  const { number, label, steps, of, worker } = trial;
  const column = study.columns.find(({ key }) => key === trial.key);
  const curve = trial.curve.filter(([, score]) => score !== null);
  const last = curve.at(-1);
  const score = last && `${value(last[1], column)} ${column.unit}`;
  return html`<li data-testid=${`running-${number}`}>
    <div class="runner-name"><a href=${href(study.name, 'trial', { arg: number })}>#${number}</a>${' '}
      <span title=${label}>${label}</span></div>
    <div class="runner-steps"><span class="bar" role="progressbar" aria-label=${`Trial ${number}`} aria-valuemin="0"
        aria-valuemax=${of ?? undefined} aria-valuenow=${steps}><${Filled} share=${of ? steps / of : 0} /></span>
      <span class="muted">${count(steps)}${of && ` of ${count(of)}`} steps
        ${trial.started_at && html`, <${Since} iso=${trial.started_at} />`}${worker && `, ${worker}`}</span></div>
    <${Spark} points=${curve} of=${of} label=${`Trial ${number}: ${score ?? 'no score'} after ${count(steps)} steps`} />
    <span class="figure">${score}</span></li>`;
}

/** Time since, counting. */
function Since({ iso }) {
  const [, tick] = useState(0);
  const begun = useRef(new Date(iso)).current;
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<span>${duration(Math.max(0, Math.floor((Date.now() - begun) / 1000)))}</span>`;
}

function Hypervolume({ progress, by, setQuery }) {
  const { hypervolume } = progress;
  const axis = (key, title) => html`<button type="button" aria-pressed=${by === key} data-testid=${`by-${key}`}
    onClick=${() => setQuery({ by: key === 'time' ? null : key })}>${title}</button>`;
  if (!hypervolume?.by_time.length) {
    return html`<div class="panel"><h2>Hypervolume</h2>
      <p class="muted">It is measured once a trial is complete.</p></div>`;
  }
  return html`<div class="panel"><div class="spread"><h2>Hypervolume</h2>
      <div class="segments" role="group" aria-label="Against">${axis('time', 'Time')}${axis('steps', 'Training steps')}
      </div></div>
    <${Growth} hypervolume=${hypervolume} by=${by} />
    <p class="muted">In ${hypervolume.unit}, from ${hypervolume.reference.meaning}.</p></div>`;
}

function Failures({ study, failures }) {
  if (!failures.length) return html`<div class="panel failures"><h2>Failures</h2><p class="muted">None.</p></div>`;
  return html`<div class="panel failures"><h2>Failures</h2><div class="wide"><table data-testid="failures">
    <thead><tr><th scope="col">Trial</th><th scope="col">Stage</th><th scope="col">Reason</th>
      <th scope="col">When</th></tr></thead>
    <tbody>${failures.map(({ number, stage, label, reason, at }) => html`<tr key=${number}>
      <th scope="row"><a href=${href(study.name, 'trial', { arg: number })}>#${number}</a></th><td>${stage}</td>
      <td><${Reason} reason=${reason ?? 'no reason on record'} /><span class="muted block">${label}</span></td>
      <td><time datetime=${at} title=${date(at)}>${ago(at)}</time></td></tr>`)}</tbody></table></div></div>`;
}

/** A short reason as it is; of a long one the beginning, and all of it on demand. */
function Reason({ reason }) {
  const [first] = reason.split('\n');
  if (first === reason && first.length <= 120) return html`<span>${reason}</span>`;
  return html`<details><summary>${first.length > 120 ? `${first.slice(0, 118)} …` : first}</summary>
    <pre>${reason}</pre></details>`;
}
