/** How hard a passphrase is to guess. */
export type Strength = "short" | "weak" | "fair" | "strong";

/** What people choose first; a thief begins with these. */
const common =
  /^(pass(wor[dt]|phrase)|passw0rd|qwert[yz]|letmein|iloveyou|welcome|imprint|schatz|hallo|admin|test)/i;
const classes = [/\p{Ll}/u, /\p{Lu}/u, /\p{Nd}/u, /[^\p{L}\p{Nd}]/u];
const classSizes = [26, 26, 10, 32];
/** A word that somebody chose, as bits: one of a few thousand. */
const WORD_BITS = 12;

/**
 * Guesses how hard a passphrase is to guess, from its looks: no list of leaked ones is at hand here.
 *
 * At a million rounds of PBKDF2 a fast graphics card tries some ten thousand a second: 40 bits are some years of it, 55 many
 * thousands.
 */
export function strength(passphrase: string, shortest: number): Strength {
  if ([...passphrase].length < shortest) return "short";
  const bits = Math.min(byLetters(passphrase), byWords(passphrase));
  if (bits < 40 || common.test(passphrase.trim())) return "weak";
  return bits < 55 ? "fair" : "strong";
}

/** Letters that say something new, each one of as many as the kinds of letters allow. */
function byLetters(passphrase: string): number {
  const codes = [...passphrase].map((letter) => letter.codePointAt(0) ?? 0);
  // Repeats and rows such as `aaa` and `1234` add nothing.
  const news = codes.filter((code, at) => at === 0 || Math.abs(code - (codes[at - 1] ?? 0)) > 1);
  const pool = classes.reduce(
    (sum, kind, at) => sum + (kind.test(passphrase) ? (classSizes[at] ?? 0) : 0),
    0,
  );
  const distinct = new Set(codes).size;
  return Math.min(news.length, 2 * distinct) * Math.log2(Math.max(pool, 2));
}

/** Words, where it looks like words: a longer word is hardly harder to guess than a short one. */
function byWords(passphrase: string): number {
  const words = passphrase.trim().split(/[\s.,_-]+/);
  if (words.length < 2 || !words.every((word) => /^\p{L}*\p{Nd}{0,4}$/u.test(word))) return Infinity;
  return new Set(words.map((word) => word.toLowerCase())).size * WORD_BITS;
}
