// Networks side by side on one picture: the same place in all, a slider between two, error maps.
//
// Address: trials=1,5; picture=ID; mode=slider; left=, right= the slider's panes; hide= panes that aren't shown;
// errors=1; view=x,y,zoom.
import { html, useEffect, useMemo, useState } from '../preact.js';
import { get, path, post } from '../api.js';
import { announce } from '../parts/announce.js';
import { useBasket } from '../parts/basket.js';
import { bytes, difference, duration, value } from '../parts/format.js';
import { useKeys } from '../parts/keys.js';
import { Empty, useStore } from '../parts/states.js';
import { href } from '../parts/address.js';
import { Picture, Slider, Stage, WHOLE, magnified, useView } from '../parts/viewer.js';

const uploads = new Map(); // of a study's name: what was sent from this page, which the server forgets when it ends

export default function Compare({ study, info, query, setQuery, store }) {
  useStore(store, ['points', 'features']);
  const limit = info.limits.compare;
  const [basket, , keep] = useBasket(study.name, limit);
  const members = useFront(study);
  const pictures = usePictures(study);
  const given = query.trials ? numbers(query.trials) : basket.length ? basket : suggested(members);
  const trials = given.slice(0, limit);
  const picture = query.picture ?? pictures.list?.[0]?.id ?? null;
  const answer = useComparison(study, trials, picture);
  const choose = (chosen) => {
    keep(chosen);
    setQuery({ trials: chosen.join(',') || null });
  };
  const show = (id) => setQuery({ picture: id, view: null });
  const own = useOwn(info, pictures, show);
  const [over, setOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    own.send(event.dataTransfer.files[0]);
  };
  return html`<section class=${`compare${over ? ' over' : ''}`} data-testid="drop"
    aria-label="Compare networks on a picture"
    onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
    onDrop=${drop}>
    <div class="panel compare-choice">
      <${Networks} study=${study} store=${store} members=${members} trials=${trials} limit=${limit} choose=${choose} />
      <${PictureChoice} pictures=${pictures} picture=${picture} choose=${show} own=${own} />
    </div>
    <${Outcome} study=${study} trials=${trials} answer=${answer} query=${query} setQuery=${setQuery} />
  </section>`;
}

const numbers = (text) => [...new Set(text.split(',').filter((part) => /^\d+$/.test(part)).map(Number))];

/** The cheapest and the best member where nothing was chosen. */
const suggested = (members) => [...new Set([members[0], members.at(-1)])].filter(Boolean).map(({ number }) => number);

/** Members of the study's own front, cheapest first. */
function useFront(study) {
  const [members, setMembers] = useState([]);
  useEffect(() => {
    const abort = new AbortController();
    get(path('studies', study.name, 'front', { x: study.cost, y: study.objective }), abort)
      .then((front) => setMembers([...front.members].sort((a, b) => a.x - b.x)), () => {});
    return () => abort.abort();
  }, [study.name, study.revision]);
  return members;
}

function usePictures(study) {
  const [state, setState] = useState({});
  const [, again] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    get(path('studies', study.name, 'pictures'), abort).then(
      ({ pictures, notes }) => setState({ held: pictures, notes }),
      (problem) => problem.name !== 'AbortError' && setState({ held: [], problem }),
    );
    return () => abort.abort();
  }, [study.name]);
  const sent = uploads.get(study.name) ?? [];
  const add = (picture) => {
    uploads.set(study.name, [...sent, picture]);
    again((n) => n + 1);
  };
  return { ...state, sent, add, list: state.held && [...state.held, ...sent] };
}

/** What the server makes of the trials and the picture: {busy, since, result, problem, again}. */
function useComparison(study, trials, picture) {
  const [state, setState] = useState({});
  const [attempt, setAttempt] = useState(0);
  const asked = `${trials.join(',')} ${picture}`;
  useEffect(() => {
    if (!trials.length || picture === null) return setState({});
    const abort = new AbortController();
    // The last result stays on the screen while the next one is made.
    setState(({ result }) => ({ result, busy: true, since: Date.now() }));
    const timer = setTimeout(() => {
      const wanted = { picture, trials, baseline: true };
      post(path('studies', study.name, 'compare'), wanted, abort).then((result) => {
        setState({ result });
        announce(`Compared on ${result.picture?.name ?? 'the picture'}: ${result.entries.map(spoken).join('; ')}`);
      }, (problem) => problem.name !== 'AbortError' && setState({ problem }));
    }, 250);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [study.name, asked, attempt]);
  return { ...state, again: () => setAttempt((n) => n + 1) };
}

const spoken = (entry) => `${entry.name}${entry.psnr === null ? '' : `, ${entry.psnr.toFixed(2)} dB`}`;

function Networks({ study, store, members, trials, limit, choose }) {
  const [typed, setTyped] = useState('');
  const quality = study.columns.find((column) => column.key === study.objective);
  const cost = study.columns.find((column) => column.key === study.cost);
  const figures = (number) => {
    const trial = store.trial(number);
    const shown = [[quality, trial?.values[quality?.key]], [cost, trial?.values[cost?.key]]];
    return shown.filter(([column, raw]) => column && raw != null)
      .map(([column, raw]) => `${value(raw, column)} ${column.unit}`).join(', ');
  };
  const add = (event) => {
    event.preventDefault();
    if (typed !== '' && !trials.includes(Number(typed))) choose([...trials, Number(typed)]);
    setTyped('');
  };
  const full = trials.length >= limit;
  const open = members.filter(({ number }) => !trials.includes(number));
  return html`<div class="compare-networks">
    <h2>Networks</h2>
    <ul class="chosen">
      ${trials.map((number) => html`<li key=${number} data-testid=${`chosen-${number}`}>
        <a href=${href(study.name, 'trial', { arg: number })} title=${store.trial(number)?.label ?? ''}>#${number}</a>
        <span>${figures(number)}</span>
        <button type="button" class="quiet" aria-label=${`Take trial ${number} out`} data-testid=${`remove-${number}`}
          onClick=${() => choose(trials.filter((other) => other !== number))}>×</button></li>`)}
    </ul>
    ${full ? html`<span class="muted">${limit} at a time: take one out to add another.</span>` : html`
      <label><span class="unseen">Add a network</span><select data-testid="add-member" value="" onChange=${(event) => {
        if (event.target.value !== '') choose([...trials, Number(event.target.value)]);
        event.target.value = '';
      }}>
        <option value="">Add from the front …</option>
        ${open.map(({ number }) => html`<option key=${number} value=${number}>
          #${number}: ${figures(number)}</option>`)}
      </select></label>
      <form onSubmit=${add} class="row"><label class="muted">or trial
        <input type="number" min="0" step="1" value=${typed} data-testid="add-number"
          onInput=${(event) => setTyped(event.target.value)} /></label>
        <button type="submit" disabled=${typed === ''}>Add</button></form>`}
  </div>`;
}

function PictureChoice({ pictures, picture, choose, own }) {
  const chosen = (event) => {
    own.send(event.target.files[0]);
    event.target.value = '';
    event.target.closest('details').open = false;
  };
  const groups = Object.entries(Object.groupBy(pictures.held ?? [], ({ set }) => set));
  return html`<div class="compare-picture">
    <h2>Picture</h2>
    <label><span class="unseen">Held-out picture</span><select data-testid="picture" value=${picture ?? ''}
      disabled=${!pictures.list?.length} onChange=${(event) => choose(event.target.value)}>
      ${!pictures.list && html`<option value="">Reading the pictures …</option>`}
      ${groups.map(([title, list]) => html`<optgroup key=${title} label=${title}>${list.map(option)}</optgroup>`)}
      ${pictures.sent.length > 0 && html`<optgroup label="Your own">${pictures.sent.map(option)}</optgroup>`}
    </select></label>
    <details class="pop"><summary data-testid="own">Your own</summary><div class="sheet own">
      <fieldset><legend>A picture that is</legend>
        <label><input type="radio" name="as" checked=${own.as === 'target'} onChange=${() => own.setAs('target')} />
          what should come out: degraded here, scored</label>
        <label><input type="radio" name="as" data-testid="as-input" checked=${own.as === 'input'}
          onChange=${() => own.setAs('input')} />
          what goes in: no score</label></fieldset>
      <p><input type="file" aria-label="Picture to send" accept="image/png,image/jpeg,image/webp,image/tiff"
        data-testid="upload" onChange=${chosen} /></p>
      <p class="muted">Or drop it anywhere on this view.</p></div></details>
    ${own.busy && html`<span role="status" class="muted">Sending the picture …</span>`}
    ${[own.problem, pictures.problem?.message, ...(pictures.notes ?? [])].filter(Boolean).map((text) => html`
      <p key=${text} class="problem" role="alert" data-testid="picture-problem">${text}</p>`)}
  </div>`;
}

/** Sending a picture of the reader's: {as, setAs, send(file), busy, problem}. */
function useOwn(info, pictures, choose) {
  const [as, setAs] = useState('target');
  const [state, setState] = useState({});
  const send = async (file) => {
    const most = info.limits.upload_bytes;
    if (!file) return;
    if (file.size > most) {
      const sizes = `Expected at most ${bytes(most)}, got ${bytes(file.size)}`;
      setState({ problem: `${sizes}: crop the picture or save it smaller.` });
      return;
    }
    setState({ busy: true });
    try {
      const { picture } = await post(path('uploads', { as }), file);
      pictures.add({ ...picture, name: file.name });
      setState({});
      choose(picture.id);
    } catch (problem) {
      setState({ problem: problem.message });
    }
  };
  return { as, setAs, send, ...state };
}

const option = ({ id, name, width, height }) => html`<option key=${id} value=${id}>
  ${name}${width ? `, ${width}×${height}` : ''}</option>`;

function Outcome({ study, trials, answer, query, setQuery }) {
  if (!trials.length) {
    return html`<${Empty} title="Nothing to compare yet"><p>Choose trials above, or put members aside in${' '}
      <a href=${href(study.name, 'front')}>the front</a>.</p><//>`;
  }
  return html`<div class="outcome" aria-busy=${Boolean(answer.busy)}>
    ${answer.busy && html`<${Busy} since=${answer.since} trials=${trials} />`}
    ${answer.problem && html`<div class="problem" role="alert" data-testid="compare-problem">
      <p>${answer.problem.message}</p><button type="button" onClick=${answer.again}>Try again</button></div>`}
    ${answer.result && html`<${Panes} key=${answer.result.picture.id}
      study=${study} result=${answer.result} query=${query} setQuery=${setQuery} />`}
  </div>`;
}

function Busy({ since, trials }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = (Date.now() - since) / 1000;
  const slow = seconds > 3 ? ' The first picture waits for PyTorch to start.' : '';
  return html`<p class="busy" role="status" data-testid="compare-busy"><i class="spinner" aria-hidden="true"></i>
    Running ${trials.length === 1 ? 'a network' : `${trials.length} networks`} …
    <span aria-hidden="true">${seconds >= 1 ? ` ${Math.floor(seconds)} s.` : ''}</span>${slow}</p>`;
}

/** The panes of a result, in order: {key, name, image, error, psnr, gmacs, seconds, number}. */
function panesOf(result) {
  const plain = (key, name, image) => (image ? [{ key, name, image, error: null, psnr: null }] : []);
  return [
    ...plain('input', 'Input', result.input),
    ...result.entries.map((entry) => ({ ...entry, key: entry.number === null ? 'baseline' : String(entry.number) })),
    ...plain('target', 'Target', result.target),
  ];
}

function Panes({ study, result, query, setQuery }) {
  const panes = useMemo(() => panesOf(result), [result]);
  const size = useMemo(() => largest(panes), [panes]);
  const view = useView(viewOf(query.view), size, (settled) => setQuery({ view: textOf(settled) }));
  const hidden = (query.hide ?? 'input').split(',');
  const shown = panes.filter(({ key }) => !hidden.includes(key));
  const errors = query.errors === '1';
  const slider = query.mode === 'slider';
  const hide = (key) => {
    const next = hidden.includes(key) ? hidden.filter((other) => other !== key) : [...hidden, key];
    setQuery({ hide: next.filter((other) => other !== 'none').join(',') || 'none' });
  };
  const can = panes.some(({ error }) => error);
  const toggleErrors = () => can && setQuery({ errors: errors ? null : '1', mode: null });
  useKeys('Compare', [
    { keys: ['e'], says: 'error maps', run: toggleErrors },
    { keys: ['b'], says: 'slider, side by side', run: () => setQuery({ mode: slider ? null : 'slider' }) },
    { keys: ['0', '+', '-'], says: 'on a picture: whole, closer, further; arrows move', run: () => false },
  ]);
  return html`<div class="panes-frame">
    <div class="panel tools" role="group" aria-label="How the pictures are shown">
      <div class="segments" role="group" aria-label="Arrangement">
        <button type="button" aria-pressed=${!slider} data-testid="mode-side"
          onClick=${() => setQuery({ mode: null })}>Side by side</button>
        <button type="button" aria-pressed=${slider} data-testid="mode-slider"
          onClick=${() => setQuery({ mode: 'slider', errors: null })}>Slider</button>
      </div>
      <button type="button" aria-pressed=${errors} disabled=${!can} data-testid="errors" onClick=${toggleErrors}
        title=${can ? 'Error maps (e)' : 'There is no target to measure against'}>Error maps</button>
      <${Zoom} view=${view} />
      ${!slider && html`<div class="segments wrap" role="group" aria-label="Panes">
        ${panes.map(({ key, name }) => html`<button key=${key} type="button" aria-pressed=${!hidden.includes(key)}
          data-testid=${`show-${key}`} onClick=${() => hide(key)}>${name}</button>`)}</div>`}
    </div>
    ${slider ? html`<${Between} panes=${panes} view=${view} query=${query} setQuery=${setQuery} study=${study} />`
      : html`<div class="panes" data-count=${shown.length}>${shown.map((pane) => html`<${Pane} key=${pane.key}
          pane=${pane} panes=${panes} view=${view} errors=${errors} study=${study} />`)}
          ${!shown.length && html`<p class="muted">All panes are hidden: choose one above.</p>`}</div>`}
    <p class="protocol">${result.protocol}.${errors && ` Error maps: ${result.error_scale}.`}
      ${' '}Drag to move, wheel or pinch to magnify; each pixel stays a square.</p>
  </div>`;
}


const largest = (panes) => panes.map(({ image }) => image)
  .reduce((most, image) => (image.width > most.width ? image : most), { width: 1, height: 1 });

function viewOf(text) {
  const [x, y, zoom] = (text ?? '').split(',').map(Number);
  return [x, y, zoom].every(Number.isFinite) && zoom > 0 ? { x, y, zoom } : WHOLE;
}

const textOf = ({ x, y, zoom }) => (zoom === null ? null : [x.toFixed(4), y.toFixed(4), zoom.toFixed(3)].join(','));

function Zoom({ view }) {
  const { zoom } = view.shown;
  const scale = (factor) => view.set(magnified(view.current.current, factor, view.whole()));
  const shown = (zoom ?? 0) * devicePixelRatio;
  return html`<div class="segments" role="group" aria-label="Magnification">
    <button type="button" aria-label="Further" onClick=${() => scale(1 / 1.5)} data-testid="zoom-out">−</button>
    <button type="button" aria-pressed=${zoom === null} onClick=${() => view.set(WHOLE)}
      data-testid="zoom-fit">Whole</button>
    <button type="button" aria-pressed=${Math.abs(shown - 1) < 0.001} title="A pixel is a pixel of the screen (1)"
      data-testid="zoom-one" onClick=${() => view.set({ ...view.current.current, zoom: 1 / devicePixelRatio })}
      >1:1</button>
    <button type="button" aria-label="Closer" onClick=${() => scale(1.5)} data-testid="zoom-in">+</button>
    <output class="zoom-now" data-testid="zoom">${zoom !== null && `${shown.toFixed(shown < 10 ? 1 : 0)}×`}</output>
  </div>`;
}

function Pane({ pane, panes, view, errors, study }) {
  const map = errors && pane.error;
  return html`<figure class="pane" data-testid=${`pane-${pane.key}`}>
    <${Stage} view=${view} label=${`${pane.name}${map ? ', error map' : ''}; arrows move, plus and minus magnify`}>
      <${Picture} picture=${pane.image} alt=${`${pane.name}: the picture`} hidden=${Boolean(map)} />
      ${pane.error && html`<${Picture} picture=${pane.error} alt=${`${pane.name}: where it is wrong`}
        hidden=${!map} />`}
    <//>
    <figcaption><${Caption} pane=${pane} panes=${panes} study=${study} /></figcaption>
  </figure>`;
}

function Caption({ pane, panes, study, named = true }) {
  const scored = panes.filter(({ psnr }) => psnr !== null && psnr !== undefined);
  const best = scored.length > 1 && pane.psnr === Math.max(...scored.map(({ psnr }) => psnr));
  const trivial = scored.find(({ key }) => key === 'baseline');
  const gain = trivial && pane !== trivial && pane.psnr != null ? pane.psnr - trivial.psnr : null;
  const dB = { unit: 'dB', scale: 1 };
  return html`${named && html`<strong title=${pane.label ?? ''}>${pane.number != null
      ? html`<a href=${href(study.name, 'trial', { arg: pane.number })}>${pane.name}</a>` : pane.name}</strong>`}
    ${pane.psnr != null && html`<span class=${`psnr${best ? ' best' : ''}`} data-testid=${`psnr-${pane.key}`}>
      ${pane.psnr.toFixed(3)} dB</span>`}
    ${gain !== null && html`<span class="muted">${difference(gain, dB)} to ${trivial.name}</span>`}
    ${pane.gmacs != null && html`<span class="muted">${value(pane.gmacs, { kind: 'cost' })} GMACs</span>`}
    ${pane.number != null && html`<span class="muted">in ${duration(pane.seconds)}</span>`}
    ${pane.psnr == null && html`<span class="muted">${pane.image.width}×${pane.image.height}</span>`}`;
}

function Between({ panes, view, query, setQuery, study }) {
  const [at, setAt] = useState(50);
  const find = (key, otherwise) => panes.find((pane) => pane.key === key) ?? otherwise;
  const trained = panes.filter(({ number }) => number != null);
  const left = find(query.left, find('baseline', panes[0]));
  const right = find(query.right, trained.at(-1) ?? panes.at(-1));
  const choice = (name, pane) => html`<select aria-label=${`At the ${name}`} value=${pane.key}
    data-testid=${`slider-${name}`} onChange=${(event) => setQuery({ [name]: event.target.value })}>
    ${panes.map(({ key, name: title }) => html`<option key=${key} value=${key}>${title}</option>`)}</select>`;
  const side = (name, pane) => html`<div class=${`side ${name}`}>${choice(name, pane)}
    <${Caption} pane=${pane} panes=${panes} study=${study} named=${false} /></div>`;
  return html`<figure class="pane between">
    <figcaption class="sides">${side('left', left)}${side('right', right)}</figcaption>
    <${Slider} view=${view} before=${left} after=${right} at=${at} onMove=${setAt}
      label=${`${left.name} and ${right.name}; arrows move, plus and minus magnify`} />
  </figure>`;
}
