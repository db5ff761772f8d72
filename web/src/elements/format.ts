import { language, words } from "../words/words.js";

const formats = new Map<string, Intl.NumberFormat>();

/** Writes a number with so many digits after the point, as the language in use does. */
function number(value: number, digits: number): string {
  const key = `${language()} ${digits}`;
  const made =
    formats.get(key) ??
    new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
  formats.set(key, made);
  return made.format(value);
}

/** Megabytes of a million bytes, as file managers and networks count: `98.4 MB`. */
export function megabytes(bytes: number): string {
  return `${number(bytes / 1e6, 1)} MB`;
}

/** An amount of memory, which nobody knows to a tenth: `204 MB`, and `5.5 MB` of little. */
export function memory(bytes: number): string {
  if (bytes >= 1e9) return `${number(bytes / 1e9, 1)} GB`;
  return `${number(bytes / 1e6, bytes < 1e7 ? 1 : 0)} MB`;
}

/** Bytes of something that may be small or large: `40 kB`, `9.8 MB`, `10.7 GB`. */
export function bytes(value: number): string {
  if (value >= 1e9) return `${number(value / 1e9, 1)} GB`;
  return value < 1e5 ? `${number(Math.ceil(value / 1e3), 0)} kB` : megabytes(value);
}

/** A day: `Nov 25, 2026`. */
export function day(ms: number): string {
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium" }).format(ms);
}

/** A plain count: `8,192`. */
export function count(value: number): string {
  return number(value, 0);
}

/** A rate or another figure with one digit unless asked otherwise: `12.3`. */
export function rate(value: number, digits = 1): string {
  return number(value, digits);
}

/** A number of parameters as people say it: `135 million`. */
export function parameters(value: number): string {
  if (value >= 1e9) return words().format.billion(number(value / 1e9, 1));
  return words().format.million(number(value / 1e6, 0));
}

/** Time left, rounded to what can honestly be foreseen: `about 20 s`, `about 3 min`. */
export function timeLeft(seconds: number): string {
  const { moment, seconds: some, minutes } = words().format;
  if (seconds < 2) return moment;
  if (seconds < 20) return some(Math.ceil(seconds));
  if (seconds < 90) return some(Math.ceil(seconds / 10) * 10);
  return minutes(Math.ceil(seconds / 60));
}
