import { EditorView } from "@codemirror/view";

/** How the sheet looks; its colours and type are the page's own custom properties. */
export const theme = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "transparent" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    minHeight: "var(--sheet-height)",
    padding: "clamp(1.25rem, 5vw, 2.75rem) clamp(1.125rem, 5vw, 3rem)",
    font: "1.1875rem/1.65 var(--serif)",
    overflow: "visible",
  },
  ".cm-content": { padding: "0", minHeight: "6em", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0", overflowWrap: "anywhere" },
  ".cm-placeholder": { color: "var(--soft)", fontStyle: "italic" },
  ".ghost": { color: "var(--soft)", fontStyle: "italic", whiteSpace: "pre-wrap" },
  ".written": {
    backgroundColor: "var(--theirs)",
    borderRadius: "0.15em",
    boxDecorationBreak: "clone",
  },
  ".copied": {
    textDecoration: "underline dotted var(--accent) 2px",
    textUnderlineOffset: "0.2em",
  },
});
