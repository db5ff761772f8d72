/** What the browser has of Trusted Types, where it has them. */
type TrustedTypes = {
  createPolicy(name: string, rules: { createScriptURL(address: string): string | null }): unknown;
};

/**
 * Lets the browser start our own Worker and the named scripts, and nothing else, from an address in a variable.
 *
 * The page's policy asks for Trusted Types: without this, no address can become a Worker, and no text can ever become
 * markup or a script. The policy is the default one because bundlers know only a Worker that is made from a plain address.
 *
 * A Worker that comes over the network does not take over the policy that stands in a page's markup, one from a `blob:`
 * does: so ours is started by a script of one line that imports it, and what the page may not fetch it may not either.
 */
export function trustOnly(worker: URL, ...others: URL[]): void {
  const known = new Set(others.map(({ href }) => href));
  let confined: string | undefined;
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  trustedTypes?.createPolicy("default", {
    createScriptURL: (address) => {
      const { href } = new URL(address, document.baseURI);
      if (href === worker.href) return (confined ??= importing(href));
      return known.has(href) ? address : null;
    },
  });
}

/** The address of a script that imports another; it lasts as long as the page. */
function importing(script: string): string {
  const line = `import ${JSON.stringify(script)};`;
  return URL.createObjectURL(new Blob([line], { type: "text/javascript" }));
}
