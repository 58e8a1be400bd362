// Numbers, times and sizes as text.

const WHOLE = new Intl.NumberFormat('en');
const SIGNIFICANT = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });

export const count = (value) => (value === null || value === undefined ? '–' : WHOLE.format(value));

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** A column's value as shown, without its unit: divided by the column's scale. */
export function value(raw, column) {
  if (raw === null || raw === undefined || Number.isNaN(raw)) return '–';
  const shown = raw / (column.scale || 1);
  if (column.unit === 'dB') return shown.toFixed(3);
  if (column.kind === 'quality') return shown.toFixed(Math.abs(shown) < 10 ? 4 : 2);
  if (Number.isInteger(shown)) return WHOLE.format(shown);
  return Math.abs(shown) >= 1000 ? WHOLE.format(Math.round(shown)) : fixed(shown);
}

function fixed(shown) {
  const size = Math.abs(shown);
  if (size >= 100) return shown.toFixed(1);
  if (size >= 10) return shown.toFixed(2);
  return size >= 0.1 ? shown.toFixed(3) : SIGNIFICANT.format(shown);
}

/** A difference with its sign. */
export function difference(raw, column) {
  const text = value(raw, column);
  if (!/[1-9]/.test(text)) return text.replace('-', '');
  return raw > 0 ? `+${text}` : text.replace('-', '−');
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
export const date = (iso) => (iso ? DATE.format(new Date(iso)) : '–');

const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const STEPS = [['second', 60], ['minute', 60], ['hour', 24], ['day', 30], ['month', 12], ['year', Infinity]];

export function ago(iso) {
  if (!iso) return '–';
  let past = (new Date(iso) - Date.now()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(past) < size) return RELATIVE.format(Math.round(past), unit);
    past /= size;
  }
  return date(iso);
}

export function bytes(size) {
  if (size < 1000) return `${size} B`;
  const step = size < 1e6 ? [1e3, 'kB'] : size < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(size / step[0]).toFixed(size / step[0] < 10 ? 2 : 1)} ${step[1]}`;
}

/** A column's heading: its label, with the unit where the label doesn't say it. */
export function heading(column) {
  const bare = !column.unit || column.unit === column.label || column.unit === '1';
  return bare ? column.label : `${column.label} [${column.unit}]`;
}

/** The study with shorter labels: its own metrics without their protocol, others' image sets without their folder. */
export function shortened(study) {
  const own = [study.cost, study.objective];
  const brief = ({ key, label }) => (own.includes(key) ? label.split(', ')[0] : label.replace(/, [^,]*\/([^,/]+)$/, ', $1'));
  const labels = study.columns.map(brief);
  const single = (label) => labels.indexOf(label) === labels.lastIndexOf(label);
  return { ...study, columns: study.columns.map((column, at) => (single(labels[at]) ? { ...column, label: labels[at] } : column)) };
}
