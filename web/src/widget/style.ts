/**
 * The writer's own style, in a shadow root that no rule of the page reaches. What a page could do to the host itself is set
 * with `!important`, which inside a shadow root goes before the page's; margins and widths stay the page's.
 */
export const style = `
:host {
  display: block !important;
  visibility: visible !important;
  opacity: 1 !important;
  filter: none !important;
  clip-path: none !important;
  transform: none !important;
  pointer-events: auto !important;
  max-inline-size: 100%;
  box-sizing: border-box !important;
  color: var(--imprint-ink, light-dark(#26221c, #ebe5da)) !important;
  font: var(--imprint-font-size, 1rem) / 1.5 var(--imprint-font, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif) !important;
  letter-spacing: normal !important;
  word-spacing: normal !important;
  text-transform: none !important;
  text-indent: 0 !important;
  text-align: start !important;
  text-shadow: none !important;
  white-space: normal !important;
  cursor: auto !important;
  user-select: auto !important;
}
:host([hidden]) { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
p { margin: 0; }
::slotted(*) { margin-block: 0; }
.frame {
  display: grid;
  gap: 0.875em;
  padding: var(--imprint-padding, 1.25em 1.375em);
  background: var(--imprint-ground, light-dark(#fffdf8, #1f1d1a));
  border: 1px solid var(--imprint-line, light-dark(#ddd5c6, #37332d));
  border-radius: var(--imprint-radius, 10px);
}
.frame > * { min-inline-size: 0; }
.text, .suggestion, textarea {
  font: 1.125em / 1.6 var(--imprint-text-font, "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", P052, Georgia, "Noto Serif", "DejaVu Serif", serif);
  overflow-wrap: break-word;
  white-space: pre-wrap;
}
.prompt { color: var(--imprint-soft, light-dark(#665e52, #aba395)); }
.text[aria-busy="true"] .written::after {
  content: "";
  display: inline-block;
  inline-size: 2px;
  block-size: 1em;
  margin-inline-start: 2px;
  vertical-align: -0.125em;
  background: var(--imprint-accent, light-dark(#8c3b2a, #e2a08c));
}
textarea {
  display: block;
  inline-size: 100%;
  padding: 0.5em 0.625em;
  color: inherit;
  background: transparent;
  border: 1px solid var(--imprint-edge, light-dark(#8f8575, #7d7567));
  border-radius: calc(var(--imprint-radius, 10px) * 0.6);
  resize: vertical;
  field-sizing: content;
  min-block-size: 3.2em;
}
textarea::placeholder { color: var(--imprint-soft, light-dark(#665e52, #aba395)); opacity: 1; }
.suggestion {
  padding-inline-start: 0.75em;
  border-inline-start: 3px solid var(--imprint-accent, light-dark(#8c3b2a, #e2a08c));
  color: var(--imprint-soft, light-dark(#665e52, #aba395));
  min-block-size: 1.6em;
}
.bar { display: flex; flex-wrap: wrap; gap: 0.5em; align-items: center; }
button {
  min-block-size: 2.5em;
  padding: 0.375em 1em;
  font: inherit;
  font-weight: 500;
  color: inherit;
  background: transparent;
  border: 1px solid var(--imprint-edge, light-dark(#8f8575, #7d7567));
  border-radius: calc(var(--imprint-radius, 10px) * 0.6);
  cursor: pointer;
  touch-action: manipulation;
}
button.primary {
  color: var(--imprint-on-accent, light-dark(#fffaf3, #241512));
  background: var(--imprint-accent, light-dark(#8c3b2a, #e2a08c));
  border-color: transparent;
}
button:hover { text-decoration: underline; text-underline-offset: 0.2em; }
:focus-visible { outline: 2px solid var(--imprint-accent, light-dark(#8c3b2a, #e2a08c)); outline-offset: 2px; }
.loading { display: grid; gap: 0.375em; }
progress {
  appearance: none;
  inline-size: 100%;
  block-size: 6px;
  border: 0;
  border-radius: 3px;
  overflow: hidden;
  color: var(--imprint-accent, light-dark(#8c3b2a, #e2a08c));
  background: var(--imprint-line, light-dark(#ddd5c6, #37332d));
}
progress::-webkit-progress-bar { background: transparent; }
progress::-webkit-progress-value { background: var(--imprint-accent, light-dark(#8c3b2a, #e2a08c)); }
progress::-moz-progress-bar { background: var(--imprint-accent, light-dark(#8c3b2a, #e2a08c)); }
.small { font-size: 0.875em; color: var(--imprint-soft, light-dark(#665e52, #aba395)); overflow-wrap: anywhere; }
.small a { color: inherit; }
.error {
  display: grid;
  gap: 0.25em;
  padding: 0.75em 0.875em;
  color: var(--imprint-warn, light-dark(#8a2b12, #f3b8a2));
  background: var(--imprint-warn-ground, light-dark(#fbeee6, #34221c));
  border-radius: calc(var(--imprint-radius, 10px) * 0.6);
}
.error .small { color: inherit; }
.hearable {
  position: absolute;
  inline-size: 1px;
  block-size: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}
@media (forced-colors: active) {
  progress::-webkit-progress-value { background: Highlight; }
}
@media print {
  .bar, .loading, .small { display: none; }
}
`;
