import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { history, historyField, isolateHistory, redo, undo } from "@codemirror/commands";
import { EditorState, Transaction, type TransactionSpec } from "@codemirror/state";
import { firstWord, ghost, ghosts, showGhost } from "../../web/src/editor/ghost.js";
import { byModel, markCopied, origins, provenance } from "../../web/src/editor/provenance.js";
import { add, move, remove, shareOutside, touches, touchedBy } from "../../web/src/editor/spans.js";

const extensions = [history(), origins, ghosts];
const stored = { history: historyField, provenance };

/** A sheet without a view: what is typed, undone, stored and read again. */
class Sheet {
  state: EditorState;

  constructor(text = "") {
    this.state = EditorState.create({ doc: text, extensions, selection: { anchor: text.length } });
  }

  type(at: number, insert: string, to = at): this {
    const selection = { anchor: at + insert.length };
    const typing = [Transaction.userEvent.of("input.type"), isolateHistory.of("full")];
    return this.#do({ changes: { from: at, to, insert }, selection, annotations: typing });
  }

  model(insert: string, at = this.state.doc.length): this {
    const annotations = [byModel.of(true), isolateHistory.of("full")];
    return this.#do({ changes: { from: at, insert }, annotations });
  }

  copied(from: number, to: number): this {
    return this.#do({ effects: markCopied.of({ from, to }) });
  }

  suggest(text: string): this {
    return this.#do({ effects: showGhost.of({ at: this.state.selection.main.head, text }) });
  }

  undo(): this {
    undo({ state: this.state, dispatch: (transaction) => (this.state = transaction.state) });
    return this;
  }

  redo(): this {
    redo({ state: this.state, dispatch: (transaction) => (this.state = transaction.state) });
    return this;
  }

  reload(): this {
    const json: unknown = JSON.parse(JSON.stringify(this.state.toJSON(stored)));
    this.state = EditorState.fromJSON(json, { extensions }, stored);
    return this;
  }

  get text(): string {
    return this.state.doc.toString();
  }

  /** The model's words in brackets. */
  get marked(): string {
    const { written } = this.state.field(provenance).now;
    return [...this.text].reduce((all, letter, at) => {
      const opens = written.some((edge, i) => i % 2 === 0 && edge === at) ? "[" : "";
      const closes = written.some((edge, i) => i % 2 === 1 && edge === at + 1) ? "]" : "";
      return `${all}${opens}${letter}${closes}`;
    }, "");
  }

  #do(spec: TransactionSpec): this {
    this.state = this.state.update(spec).state;
    return this;
  }
}

describe("who wrote what", () => {
  it("is marked for what the model adds, and for nothing that is typed", () => {
    const sheet = new Sheet("The sea").model(" was calm.").type(17, " I swam.");
    assert.equal(sheet.marked, "The sea[ was calm.] I swam.");
  });

  it("a word that the person touches is the person's, and its neighbours stay the model's", () => {
    const sheet = new Sheet("The sea").model(" was calm and grey.").type(16, "er");
    assert.equal(sheet.marked, "The sea[ was ]calmer[ and grey.]");
    assert.equal(sheet.type(12, "", 13).marked, "The sea[ was ]almer[ and grey.]");
  });

  it("undo and redo bring it back as it was at each step", () => {
    const sheet = new Sheet("The sea").model(" was calm.").type(12, "very ").type(8, "", 12);
    const steps = [sheet.marked];
    for (let step = 0; step < 3; step += 1) steps.push(sheet.undo().marked);
    assert.equal(steps.at(-1), "The sea");
    assert.equal(steps.at(-2), "The sea[ was calm.]");
    for (const before of steps.slice(0, -1).reverse()) assert.equal(sheet.redo().marked, before);
  });

  it("survives being stored, with undo across it", () => {
    const sheet = new Sheet("The sea").model(" was calm.").type(12, "very ").reload();
    assert.equal(sheet.marked, "The sea[ was ]very [calm.]");
    assert.equal(sheet.undo().marked, "The sea[ was calm.]");
    assert.equal(sheet.reload().undo().marked, "The sea");
    assert.equal(sheet.redo().marked, "The sea[ was calm.]");
  });

  it("stays in step with a history that forgets its oldest steps", () => {
    const sheet = new Sheet("a");
    for (let step = 0; step < 150; step += 1) {
      if (step % 2 === 0) sheet.model(` m${step}.`);
      else sheet.type(sheet.text.length, ` p${step}.`);
    }
    const marks = (text: string): string => text.replace(/^.*?\[ m0/s, "[ m0");
    for (let step = 149; step > 60; step -= 1) {
      const last = step % 2 === 0 ? `[ m${step}.]` : ` p${step}.`;
      assert.ok(marks(sheet.marked).endsWith(last), `${sheet.marked.slice(-40)} ends with ${last}`);
      sheet.undo();
    }
  });

  it("copied words are marked until they are touched", () => {
    const sheet = new Sheet("One").model(" two three four").copied(4, 13);
    assert.deepEqual(sheet.state.field(provenance).now.copied, [4, 13]);
    assert.deepEqual(sheet.type(5, "x").state.field(provenance).now.copied, [8, 14]);
    assert.deepEqual(sheet.undo().state.field(provenance).now.copied, [4, 13]);
  });

  it("marks that make no sense are refused, so that the text is read without them", () => {
    const json = { ...(new Sheet("a").state.toJSON(stored) as object), provenance: { now: 1, steps: [] } };
    assert.throws(() => EditorState.fromJSON(json, { extensions }, stored), /cannot be read/);
  });
});

describe("a suggestion", () => {
  const suggested = (sheet: Sheet): string | undefined => sheet.state.field(ghost)?.text;

  it("stays while its very letters are typed, and goes with any other", () => {
    const sheet = new Sheet("The sea").suggest(" was calm.");
    assert.equal(suggested(sheet.type(7, " wa")), "s calm.");
    assert.equal(suggested(sheet.type(10, "x")), undefined);
  });

  it("goes when the text changes elsewhere or the cursor moves away", () => {
    assert.equal(suggested(new Sheet("The sea").suggest(" was").type(0, "Oh. ")), undefined);
    const sheet = new Sheet("The sea").suggest(" was");
    sheet.state = sheet.state.update({ selection: { anchor: 2 } }).state;
    assert.equal(suggested(sheet), undefined);
  });

  it("is no part of the text", () => {
    assert.equal(new Sheet("The sea").suggest(" was").text, "The sea");
  });

  it("is taken by words with the space before them", () => {
    assert.equal(firstWord(" was calm."), " was");
    assert.equal(firstWord("s calm."), "s");
    assert.equal(firstWord("end"), "end");
  });
});

describe("stretches", () => {
  it("that meet become one, and a hole makes two", () => {
    assert.deepEqual(add([0, 2, 5, 7], 2, 5), [0, 7]);
    assert.deepEqual(add([5, 7], 0, 2), [0, 2, 5, 7]);
    assert.deepEqual(remove([0, 7], 2, 5), [0, 2, 5, 7]);
    assert.deepEqual(remove([0, 7], 0, 7), []);
    assert.equal(touches([2, 5], 5, 9), false);
    assert.equal(touches([2, 5], 4, 9), true);
  });

  it("move with the text and vanish with it", () => {
    assert.deepEqual(
      move([2, 5], (at) => at + 3),
      [5, 8],
    );
    assert.deepEqual(
      move([2, 5], () => 1),
      [],
    );
  });

  it("leave the share of the rest, white space left out", () => {
    assert.equal(shareOutside([3, 8], "ab  cdef"), 1 / 3);
    assert.equal(shareOutside([], ""), 1);
    assert.equal(shareOutside([0, 4], "ab c"), 0);
  });

  it("a change touches the word it cuts or grows, in any script, and no other", () => {
    const around = (text: string, at: number, removed: string): string =>
      text.slice(...touchedBy(text, at, at, removed));
    assert.equal(around("it wasn’t so", 5, "x"), "wasn’t");
    assert.equal(around("Tränen fließen", 9, "é"), "fließen");
    assert.equal(around("a b", 2, "new "), "", "a word that went with its space touches no other");
    assert.equal(around("a  b", 2, "x"), "");
  });
});
