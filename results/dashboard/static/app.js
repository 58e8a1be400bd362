/*
 * The page: what its address means, what stays around a view, the colours and the keys.
 *
 * The address says all that a view shows, so that a link shares it:
 *   #/                        studies
 *   #/s/NAME/VIEW[/ARG]?QUERY   a study's view: front, progress, trial/NUMBER, compare, space
 *
 * A view is `views/VIEW.js` with `export default function View(props)`:
 *   study     GET /studies/NAME with shorter labels, asked for again after each change of the study
 *   info      GET /info
 *   arg       what follows the view's name in the address ('12' or 'best' of trial/12), or null
 *   query     the address's query as {name: text}
 *   setQuery  setQuery({name: value}) changes those names, null removes one; the history gets no entry
 *   store     the study's StudyStore (parts/points.js): its points, progress events, connection; the same object as
 *             long as the study stays; useStore(store, ['points', 'progress']) of parts/states.js draws a component
 *             again on those events
 * Addresses: href(name, view, {arg, query}) and go(address) of parts/address.js. All text goes through htm: never
 * innerHTML with data. Styles are classes of style.css; a computed one is an object: style=${{ width: '3%' }}.
 * Keys: useKeys of parts/keys.js. What changed without the user's doing: announce() of parts/announce.js. Numbers:
 * parts/format.js. Trials put aside to be compared: useBasket of parts/basket.js. Waiting, errors, nothing there:
 * Loading, Fault and Empty of parts/states.js. An answer that follows the study: useAnswer of parts/states.js.
 */
import { Fragment, html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from './preact.js';
import { get, keepToken, path } from './api.js';
import { StudyStore } from './parts/points.js';
import { useBasket } from './parts/basket.js';
import { keysInForce, useKeys } from './parts/keys.js';
import { applyTheme, nextTheme, onTheme, themeName } from './parts/theme.js';
import { shortened } from './parts/format.js';
import { go, href, parse } from './parts/address.js';
import { Fault, Loading, useAnswer, useStore } from './parts/states.js';

const VIEWS = { front: 'Front', progress: 'Progress', compare: 'Compare', space: 'Space' };
const MODULES = ['studies', 'trial', ...Object.keys(VIEWS)];

// What tests and benchmarks read: `drawn` is performance.now() at the first drawn front.
window.pixelfront = { drawn: null, store: null };

function useRoute() {
  const [route, setRoute] = useState(() => parse(location.hash));
  useEffect(() => {
    const read = () => setRoute(parse(location.hash));
    addEventListener('hashchange', read);
    return () => removeEventListener('hashchange', read);
  }, []);
  return route;
}

/** [the view's component or null while it loads, what kept it away]. */
function useView(name) {
  const [views, setViews] = useState({});
  useEffect(() => {
    if (views[name]) return;
    const show = (view) => setViews((known) => ({ ...known, [name]: view }));
    import(`./views/${name}.js`).then((module) => show({ View: module.default }), (problem) => show({ problem }));
  }, [name]);
  return views[name] ?? {};
}

/** The study's record, and again after each of its changes, at most once a second. */
function useStudy(name, store) {
  const { answer, problem } = useAnswer(name && path('studies', name), store, ({ kind }) => kind === 'changed', 1000);
  return { study: useMemo(() => answer && shortened(answer), [answer]), problem };
}

function App() {
  const route = useRoute();
  const [info, setInfo] = useState(null);
  const [help, setHelp] = useState(false);
  const store = useMemo(() => (route.study ? new StudyStore(route.study) : null), [route.study]);
  useEffect(() => () => store?.close(), [store]);
  window.pixelfront.store = store;
  const { study, problem: missing } = useStudy(route.study, store);
  const viewName = route.study ? route.view : 'studies';
  const { View, problem: broken } = useView(MODULES.includes(viewName) ? viewName : 'studies');
  useEffect(() => { get(path('info')).then(setInfo, () => setInfo({ limits: { compare: 4 } })); }, []);
  useEffect(() => {
    const what = VIEWS[route.view] ?? (route.view === 'trial' ? `Trial ${route.arg}` : 'Studies');
    document.title = route.study ? `${what} · ${route.study} · pixelfront` : 'pixelfront';
  }, [route.study, route.view, route.arg]);

  useKeys('Everywhere', [
    { keys: ['?'], says: 'these keys', run: () => setHelp(true) },
    { keys: ['t'], says: 'dark, light, as the system', run: () => applyTheme(nextTheme()) },
    { keys: ['s'], says: 'studies', run: () => go('#/') },
    ...Object.entries(VIEWS).map(([view, says], at) => (
      { keys: [String(at + 1)], says, run: () => route.study && go(href(route.study, view)) })),
  ]);

  const problem = missing ?? broken;
  const wants = !route.study || study;
  return html`<${Fragment}>
    <a class="skip" href="#main" onClick=${focusMain}>Skip to the content</a>
    <${Header} route=${route} store=${store} onHelp=${() => setHelp(true)} />
    <main id="main" tabindex="-1" class=${`view view-${viewName}`}>
      ${problem ? html`<${Fault} problem=${problem} />`
        : View && info && wants
          ? html`<${View} key=${route.study} study=${study} info=${info} arg=${route.arg} query=${route.query}
              setQuery=${route.setQuery} store=${store} />`
          : html`<${Loading} what=${route.study ? `study ${route.study}` : 'the studies'} />`}
    </main>
    <footer class="foot">
      <span>pixelfront ${info?.version ?? ''}</span>
      ${study && html`<span>Report:
        ${['html', 'md', 'csv', 'json'].map((kind) => html` <a key=${kind} data-testid=${`report-${kind}`}
          href=${path('studies', study.name, `report.${kind}`)}>${kind}</a>`)}</span>`}
      <a href="/api/docs">JSON API</a>
      <button type="button" class="link" onClick=${() => setHelp(true)}>Keys <kbd>?</kbd></button>
    </footer>
    <div id="announcer" class="unseen" aria-live="polite"></div>
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
  </${Fragment}>`;
}

function focusMain(event) {
  event.preventDefault();
  document.getElementById('main').focus();
}

function Header({ route, store, onHelp }) {
  return html`<header class="top">
    <a class="mark" href="#/" aria-label="pixelfront: all studies"><${Mark} /><span>pixelfront</span></a>
    ${route.study && html`<${Fragment}>
      <span class="where" title=${route.study} data-testid="study-name">${route.study}</span>
      <nav aria-label="Views of the study" class="tabs"><${Tabs} route=${route} /></nav>
      <${Live} store=${store} />
    </${Fragment}>`}
    <span class="push"></span>
    <${Theme} />
    <button type="button" class="quiet" aria-label="Keys" title="Keys (?)" onClick=${onHelp} data-testid="help">?</button>
  </header>`;
}

function Tabs({ route }) {
  const [basket] = useBasket(route.study);
  const shown = Object.entries(VIEWS);
  if (route.view === 'trial') shown.splice(2, 0, ['trial', `Trial ${route.arg}`]);
  return shown.map(([view, title]) => {
    const query = view === 'compare' && basket.length ? { trials: basket.join(',') } : undefined;
    const here = route.view === view;
    const address = here ? location.hash : href(route.study, view, { arg: view === 'trial' ? route.arg : null, query });
    return html`<a key=${view} href=${address} aria-current=${here ? 'page' : undefined} data-testid=${`tab-${view}`}>
      ${title}${view === 'compare' && basket.length > 0 && html`<span class="badge"
        aria-label=${`${basket.length} chosen`}>${basket.length}</span>`}</a>`;
  });
}

const CONNECTIONS = {
  connecting: ['', 'connecting', 'Connecting to the server'],
  live: ['on', 'live', 'Changes appear as they happen'],
  lost: ['off', 'no connection', 'The connection is lost; trying again'],
};

function Live({ store }) {
  useStore(store, ['connection']);
  const [mark, text, title] = CONNECTIONS[store.connection];
  return html`<span class=${`live ${mark}`} role="status" title=${title} data-testid="live"><i></i><span>${text}</span></span>`;
}

function Theme() {
  const [name, setName] = useState(themeName());
  useEffect(() => onTheme(() => setName(themeName())), []);
  const says = { auto: 'as the system', light: 'light', dark: 'dark' }[name];
  return html`<button type="button" class="quiet" aria-label=${`Colours: ${says}. Change`} title=${`Colours: ${says} (t)`}
    data-testid="theme" onClick=${() => applyTheme(nextTheme())}>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="6.2" fill="none"
      stroke="currentColor" stroke-width="1.4" />
      ${name === 'auto' && html`<path d="M8 1.8a6.2 6.2 0 0 1 0 12.4z" fill="currentColor" />`}
      ${name === 'dark' && html`<circle cx="8" cy="8" r="6.2" fill="currentColor" />`}</svg></button>`;
}

const Mark = () => html`<svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
  <path d="M5 27v-8h7v-7h8V7h8" fill="none" stroke="var(--accent)" stroke-width="3" stroke-linejoin="round" />
  <g fill="currentColor"><circle cx="5" cy="19" r="3.1" /><circle cx="12" cy="12" r="3.1" />
  <circle cx="20" cy="7" r="3.1" /></g></svg>`;

const SHOWN = { ArrowRight: '→', ArrowLeft: '←', ArrowUp: '↑', ArrowDown: '↓', ' ': 'space', Escape: 'Esc' };

function Help({ onClose }) {
  const dialog = useRef(null);
  useLayoutEffect(() => { dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} class="help" aria-label="Keys" onClose=${onClose} data-testid="keys">
    <h2>Keys</h2>
    ${keysInForce().map(([title, keys]) => html`<section key=${title}><h3>${title}</h3><dl>
      ${keys.map((entry) => html`<div key=${entry.says}><dt>${entry.keys.map((key) => html`<kbd key=${key}>
        ${SHOWN[key] ?? key}</kbd> `)}</dt><dd>${entry.says}</dd></div>`)}</dl></section>`)}
    <form method="dialog"><button type="submit" autofocus>Close</button></form>
  </dialog>`;
}

keepToken();
applyTheme();
const root = document.getElementById('app');
root.textContent = '';
render(html`<${App} />`, root);
