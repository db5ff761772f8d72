/** What the policy in a page's markup says of requests; undefined where it says nothing. */
export function connectSources(): string[] | undefined {
  const meta = document.querySelector<HTMLMetaElement>('meta[http-equiv="Content-Security-Policy" i]');
  const directives = (meta?.content ?? "").split(";").map((directive) => directive.trim().split(/\s+/));
  const find = (name: string): string[] | undefined => directives.find(([first]) => first === name)?.slice(1);
  return find("connect-src") ?? find("default-src");
}

/**
 * Whether the policy in the page's markup lets it fetch from an address; policies that come as a header are not seen.
 *
 * Reads what Imprint's own page may hold: `'self'`, `*`, schemes and origins.
 */
export function mayFetch(url: string, sources: readonly string[] | undefined, own: string): boolean {
  if (sources === undefined) return true;
  const { origin, protocol } = new URL(url);
  return sources.some(
    (source) =>
      source === "*" ||
      source === protocol ||
      (source === "'self'" && origin === own) ||
      (URL.canParse(source) && new URL(source).origin === origin),
  );
}
