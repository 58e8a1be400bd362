// Which trials are meant: read from the address, asked of the server, applied to the points.

const list = (text) => (text ? text.split(',').filter(Boolean) : []);

function range(text) {
  if (!text) return null;
  const [low, high] = text.split(':').map((end) => (end === '' || end === undefined ? null : Number(end)));
  return [low, high ?? null].some(Number.isNaN) ? null : [low, high ?? null];
}

/** {stage, state, kind, all, depth, width, up}: lists of names (empty: any), ranges [low, high] or null. */
export const readFilters = (query) => ({
  stage: list(query.stage),
  state: list(query.state),
  kind: list(query.kind),
  all: query.kinds === 'all',
  depth: range(query.depth),
  width: range(query.width),
  up: list(query.up),
});

/** The address's names of the filters, to clear them all. */
export const NONE = { stage: null, state: null, kind: null, kinds: null, depth: null, width: null, up: null };

export const rangeText = ([low, high]) => (low === null && high === null ? null : `${low ?? ''}:${high ?? ''}`);

/** The filters as the server's /front takes them. */
export const asked = (query) => ({
  stage: query.stage, state: query.state, kind: query.kind, kinds: query.kind && query.kinds, depth: query.depth,
  width: query.width, upsampler: query.up,
});

export const filtered = (query) => Object.keys(NONE).some((name) => name !== 'kinds' && query[name]);

const within = (bounds, value) => (
  value !== null && (bounds[0] === null || value >= bounds[0]) && (bounds[1] === null || value <= bounds[1]));

/** A predicate on rows of the points. What isn't known yet (features come later) is let through. */
export function matcher(points, filters) {
  const tests = [];
  const oneOf = (wanted, column, names) => {
    if (!wanted.length || !column) return;
    const meant = new Set(wanted.map((name) => names.indexOf(name)));
    tests.push((row) => meant.has(column[row]));
  };
  oneOf(filters.stage, points.stage, points.stages);
  oneOf(filters.state, points.state, points.states);
  oneOf(filters.up, points.upsampler, points.upsamplers);
  for (const name of ['depth', 'width']) {
    if (filters[name] && points[name]) tests.push((row) => within(filters[name], points[name][row]));
  }
  if (filters.kind.length && points.uses) {
    const wanted = filters.kind.map((kind) => points.kinds.indexOf(kind));
    const every = filters.all ? 'every' : 'some';
    tests.push((row) => wanted[every]((kind) => points.uses[row].includes(kind)));
  }
  return (row) => tests.every((test) => test(row));
}
