const oneDigit = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Megabytes of a million bytes, as file managers and networks count: `98.4 MB`. */
export function megabytes(bytes: number): string {
  return `${oneDigit.format(bytes / 1e6)} MB`;
}

/** Bytes of something that may be small: `40 kB`, `9.8 MB`. */
export function bytes(value: number): string {
  return value < 1e5 ? `${whole.format(Math.ceil(value / 1e3))} kB` : megabytes(value);
}

/** A plain count: `8,192`. */
export function count(value: number): string {
  return whole.format(value);
}

/** A rate with one digit: `12.3`. */
export function rate(value: number): string {
  return oneDigit.format(value);
}

/** A number of parameters as people say it: `135 million`. */
export function parameters(value: number): string {
  if (value >= 1e9) return `${oneDigit.format(value / 1e9)} billion`;
  return `${whole.format(value / 1e6)} million`;
}

/** Time left, rounded to what can honestly be foreseen: `about 20 s`, `about 3 min`. */
export function timeLeft(seconds: number): string {
  if (seconds < 2) return "a moment";
  if (seconds < 20) return `about ${Math.ceil(seconds)} s`;
  if (seconds < 90) return `about ${Math.ceil(seconds / 10) * 10} s`;
  return `about ${Math.ceil(seconds / 60)} min`;
}
