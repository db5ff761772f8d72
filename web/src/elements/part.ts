/** Finds the part of an element's own content that is marked `data-part="name"`; throws if the markup lacks it. */
export function part<E extends HTMLElement>(root: ParentNode, name: string, kind: new () => E): E {
  const found = root.querySelector(`[data-part="${name}"]`);
  if (found instanceof kind) return found;
  throw new TypeError(`the markup lacks a ${kind.name} with data-part="${name}"`);
}
