// A study's trials as columns, kept up to date by the server's events.
import { get, listen, path } from '../api.js';

const DICTIONARIES = { state: 'states', stage: 'stages', upsampler: 'upsamplers' };
const PATIENCE_MS = 1500;
const PLAIN = ['number', 'parent', 'label', 'digest', 'depth', 'width'];

/**
 * points: {count, number, parent, state, stage, values: {key: []}} with the names of `state` and `stage` indices in
 *   `states` and `stages`; once `features` is true also label, digest, depth, width, upsampler (`upsamplers`) and uses
 *   (`kinds`). Rows are in no promised order: `row(number)` finds one. Null until the first answer.
 * subscribe(listener): called with {kind: 'points', rows: [changed rows], first} | {kind: 'features'} |
 *   {kind: 'progress'} | {kind: 'connection'} | {kind: 'changed', state}; returns what stops it.
 * progress: the last `progress` event's data, or null. connection: 'connecting', 'live' or 'lost'. problem: a Problem
 *   that kept the points away, or null.
 */
export class StudyStore {
  constructor(study) {
    Object.assign(this, {
      study, points: null, features: false, revision: 0, version: 0, progress: null, connection: 'connecting',
      problem: null, listeners: new Set(), rows: new Map(), closed: false, source: null,
    });
    const first = new Promise((done) => { this.seen = done; });
    this.load(Promise.race([first, new Promise((done) => { setTimeout(done, PATIENCE_MS); })]));
  }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(event) {
    if (!this.closed) for (const listener of [...this.listeners]) listener(event);
  }

  row(number) {
    return this.rows.get(number);
  }

  /** The trial's row as one object, for what shows a single trial. */
  trial(number) {
    const row = this.row(number);
    if (row === undefined) return null;
    const { points } = this;
    const values = Object.fromEntries(Object.entries(points.values).map(([key, column]) => [key, column[row]]));
    return {
      number, values, row, parent: points.parent[row], state: points.states[points.state[row]],
      stage: points.stages[points.stage[row]], label: points.label?.[row] ?? null, digest: points.digest?.[row] ?? null,
      depth: points.depth?.[row] ?? null, width: points.width?.[row] ?? null,
      upsampler: points.upsamplers?.[points.upsampler[row]] ?? null,
      kinds: points.uses ? points.uses[row].map((kind) => points.kinds[kind]) : null,
    };
  }

  /** Features, which are most of the bytes, come when `seen()` says that the first front is drawn, or a little later. */
  async load(shown) {
    try {
      this.take(await get(path('studies', this.study, 'points')), true);
      this.connect();
      await shown;
      this.describe(await get(path('studies', this.study, 'points', { fields: 'features' })));
    } catch (problem) {
      this.problem = problem;
      this.tell({ kind: 'connection' });
    }
  }

  connect() {
    if (this.closed) return;
    this.source = listen(this.study, {
      changed: (event) => this.changed(event),
      progress: (event) => {
        this.progress = event;
        this.tell({ kind: 'progress' });
      },
      connection: (state) => {
        const back = state === 'live' && this.connection !== 'live';
        this.connection = state;
        this.tell({ kind: 'connection' });
        if (back) this.catchUp();
      },
    });
  }

  async changed(event) {
    const complete = event.points && event.points.since <= this.revision;
    if (complete) this.take(event.points);
    else if (event.revision > this.revision) await this.catchUp();
    this.tell({ kind: 'changed', state: event.state });
  }

  async catchUp(since = this.revision) {
    const fields = this.features ? 'values,features' : null; // making them costs the server time that the first front needs
    try {
      this.take(await get(path('studies', this.study, 'points', { since, fields })));
    } catch {
      // the next event, or the connection's return, asks again
    }
  }

  take(delta, first = false) {
    if (this.closed || delta.revision < this.revision) return;
    this.revision = delta.revision;
    if (first) {
      this.points = delta;
      delta.number.forEach((number, row) => this.rows.set(number, row));
      this.version += 1;
      this.tell({ kind: 'points', rows: null, first });
    } else if (delta.number.length) {
      const rows = this.merge(delta);
      this.version += 1;
      this.tell({ kind: 'points', rows, first });
    }
  }

  merge(delta) {
    const { points } = this;
    const translate = {};
    for (const names of [...Object.values(DICTIONARIES), 'kinds']) {
      if (!delta[names]) continue;
      points[names] ??= [];
      translate[names] = delta[names].map((name) => indexOf(points[names], name));
    }
    for (const key of Object.keys(delta.values)) points.values[key] ??= new Array(points.number.length).fill(null);
    return delta.number.map((number, at) => {
      const row = this.rows.get(number) ?? points.number.length;
      this.rows.set(number, row);
      for (const name of PLAIN) if (delta[name] && points[name]) points[name][row] = delta[name][at];
      for (const [name, names] of Object.entries(DICTIONARIES)) {
        if (delta[name] && points[name]) points[name][row] = translate[names][delta[name][at]] ?? null;
      }
      if (delta.uses && points.uses) points.uses[row] = delta.uses[at].map((kind) => translate.kinds[kind]);
      for (const [key, column] of Object.entries(points.values)) column[row] = delta.values[key]?.[at] ?? null;
      points.count = points.number.length;
      return row;
    });
  }

  /** Takes the features of all trials, which come after the first front is drawn. */
  describe(all) {
    if (this.closed) return;
    const { points } = this;
    for (const name of ['kinds', 'upsamplers']) points[name] = all[name];
    for (const name of ['label', 'digest', 'depth', 'width', 'upsampler', 'uses']) {
      points[name] = new Array(points.number.length).fill(name === 'uses' ? [] : null);
      all.number.forEach((number, at) => {
        const row = this.rows.get(number);
        if (row !== undefined) points[name][row] = all[name][at];
      });
    }
    this.features = true;
    this.version += 1;
    this.tell({ kind: 'features' });
    if (all.revision !== this.revision) this.catchUp(Math.min(all.revision, this.revision));
  }

  close() {
    this.closed = true;
    this.source?.close();
  }
}

function indexOf(names, name) {
  const at = names.indexOf(name);
  return at >= 0 ? at : names.push(name) - 1;
}
