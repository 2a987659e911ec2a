// Numbers, times and sizes as people read them.

const digits = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export const whole = (n) => digits.format(n);

// short has at most four characters of digits: 9.4, 87, 1.2k, 3.4M.
export function short(n) {
  if (n == null || Number.isNaN(n)) return '–';
  const a = Math.abs(n);
  if (a === 0) return '0';
  if (a < 0.995) return n.toFixed(2);
  if (a < 9.95) return n.toFixed(1).replace(/\.0$/, '');
  if (a < 999.5) return n.toFixed(0);
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (a >= size * 0.9995) return trim(n / size) + unit;
  }
  return n.toFixed(0);
}

const trim = (n) => (Math.abs(n) < 99.5 ? n.toFixed(1).replace(/\.0$/, '') : n.toFixed(0));

export function bytes(n) {
  if (n == null || n < 0) return '–';
  if (n < 1000) return trim(n) + ' B';
  for (const [size, unit] of [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']]) {
    if (n >= size * 0.9765) return trim(n / size) + ' ' + unit;
  }
  return trim(n) + ' B';
}

// rate takes bytes a second, by the thousand as networks count.
export const rate = (n) => (n < 1000 ? short(n) + ' B/s' : short(n).replace(/(\D)$/, ' $1') + 'B/s');

// duration takes seconds.
export function duration(s) {
  if (s == null || Number.isNaN(s)) return '–';
  if (s === 0) return '0';
  if (s < 0.000995) return trim(s * 1e6) + ' µs';
  if (s < 0.9995) return trim(s * 1e3) + ' ms';
  if (s < 99.5) return trim(s) + ' s';
  return span(s);
}

// span is a long time in two units.
export function span(s) {
  s = Math.max(0, Math.round(s));
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const i = Math.max(0, units.findIndex(([size]) => s >= size));
  if (s === 0) return '0 s';
  const [size, unit] = units[i];
  const rest = units[i + 1] && Math.floor((s % size) / units[i + 1][0]);
  return Math.floor(s / size) + ' ' + unit + (rest ? ' ' + rest + ' ' + units[i + 1][1] : '');
}

export const ago = (then) => {
  const s = (Date.now() - then) / 1000;
  return s < 2 ? 'just now' : span(s) + ' ago';
};

export const percent = (part, total) => {
  if (!total) return '–';
  const p = (100 * part) / total;
  if (p > 0 && p < 0.01) return '<0.01 %';
  if (p < 100 && p > 99.99) return '99.99 %';
  return (p >= 99 && p < 100 ? p.toFixed(2) : p >= 10 ? p.toFixed(1) : p.toFixed(2)).replace(/\.0+$/, '') + ' %';
};

export function clock(t, millis) {
  const d = new Date(t);
  const two = (n) => String(n).padStart(2, '0');
  const text = two(d.getHours()) + ':' + two(d.getMinutes()) + ':' + two(d.getSeconds());
  return millis ? text + '.' + String(d.getMilliseconds()).padStart(3, '0') : text;
}

export function moment(t) {
  const d = new Date(t);
  const two = (n) => String(n).padStart(2, '0');
  return d.getFullYear() + '-' + two(d.getMonth() + 1) + '-' + two(d.getDate()) + ' ' + clock(t);
}

export const plural = (n, one, many) => whole(n) + ' ' + (n === 1 ? one : many || one + 's');
