// Axes: what part of them is in view, where their ticks are, and from a value to a place.

/** An axis from `low` to `high` (values as shown); with `log` places follow the logarithm. */
export class Scale {
  constructor(low, high, log = false) {
    Object.assign(this, { low, high, log, from: log ? Math.log10(low) : low, to: log ? Math.log10(high) : high });
  }

  /** On the axis: the value, or its logarithm. NaN where a logarithm has none. */
  on(value) {
    if (!this.log) return value;
    return value > 0 ? Math.log10(value) : NaN;
  }

  /** 0 at the axis' low end, 1 at its high end. */
  share(value) {
    return (this.on(value) - this.from) / (this.to - this.from);
  }

  at(share) {
    const place = this.from + share * (this.to - this.from);
    return this.log ? 10 ** place : place;
  }

  /** The same axis with the part between two shares in view. */
  part(a, b) {
    return new Scale(this.at(Math.min(a, b)), this.at(Math.max(a, b)), this.log);
  }

  /** About `wanted` round values in view. */
  ticks(wanted) {
    return this.log && this.high / this.low > 3 ? this.logTicks(wanted) : this.linearTicks(wanted);
  }

  linearTicks(wanted) {
    const raw = (this.high - this.low) / Math.max(1, wanted);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
    const found = [];
    for (let n = Math.ceil(this.low / step - 1e-9); n * step <= this.high + step * 1e-9; n += 1) {
      found.push(Number((n * step).toPrecision(12)));
    }
    return found;
  }

  logTicks(wanted) {
    const factors = (this.to - this.from) * 3 <= wanted * 1.2 ? [1, 2, 5] : [1];
    const found = [];
    for (let power = Math.floor(this.from); power <= this.to; power += 1) {
      for (const factor of factors) found.push(Number((factor * 10 ** power).toPrecision(6)));
    }
    return found.filter((tick) => tick >= this.low && tick <= this.high);
  }
}

/** A tick's text: as many digits as its neighbours need. */
export function tickText(tick, ticks) {
  if (Math.abs(tick) >= 1e4) return new Intl.NumberFormat('en', { notation: 'compact' }).format(tick);
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  return digits && ticks[0] > 0 && ticks.at(-1) / ticks[0] > 20 ? String(tick) : tick.toFixed(digits);
}

/**
 * The part of an axis that shows everything worth seeing: `must` (front, baseline, budget) always, and of `values`
 * all but those so far on the worse side that they would press the rest together.
 */
export function fitted(values, must, { log = false, worse = null } = {}) {
  const usable = (value) => Number.isFinite(value) && (!log || value > 0);
  const on = (value) => (log ? Math.log10(value) : value);
  const kept = must.filter(usable).map(on);
  let [low, high] = [Math.min(...kept), Math.max(...kept)];
  let [bottom, top] = [low, high];
  for (const value of values) {
    if (!usable(value)) continue;
    const place = on(value);
    if (place < bottom) bottom = place;
    if (place > top) top = place;
  }
  if (bottom === Infinity) return log ? new Scale(0.1, 10, true) : new Scale(0, 1);
  const room = high > low ? high - low : null;
  low = room && worse === 'low' ? Math.max(bottom, low - 0.6 * room) : bottom;
  high = room && worse === 'high' ? Math.min(top, high + 0.6 * room) : top;
  const margin = (high - low || Math.abs(high) * 0.1 || 1) * 0.045;
  const [from, to] = [low - margin, high + margin];
  if (log) return new Scale(10 ** from, 10 ** to, true);
  return new Scale(from < 0 && low >= 0 && low < (high - low) * 0.15 ? 0 : from, to);
}
