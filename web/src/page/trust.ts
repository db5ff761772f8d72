/**
 * Lets the browser start our own two scripts, and nothing else, from an address in a variable.
 *
 * The page's policy asks for Trusted Types: without this, no address can become a Worker, and no text can ever become
 * markup or a script. It must be imported before whatever starts a Worker. The policy is the default one because bundlers
 * know only a Worker that is made from a plain address.
 */

/** What the browser has of Trusted Types, where it has them. */
type TrustedTypes = {
  createPolicy(name: string, rules: { createScriptURL(address: string): string | null }): unknown;
};

const own = new Set([new URL("./worker.js", import.meta.url).href, new URL("sw.js", document.baseURI).href]);

const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
trustedTypes?.createPolicy("default", {
  createScriptURL: (address) => (own.has(new URL(address, document.baseURI).href) ? address : null),
});

export {};
