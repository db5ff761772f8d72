import { words } from "../words/words.js";
import { rate } from "./format.js";
import { label, type Spread } from "./measures.js";

/** Where nothing was finished that could be counted. */
const none = "–";

/** The shares of a picture in figures, for whoever cannot see it or wants to know: a row for each length. */
export function spreadTable(
  title: string,
  unit: string,
  columns: readonly { name: string; spread: Spread | undefined }[],
): HTMLTableElement {
  const table = document.createElement("table");
  table.createCaption().textContent = title;
  const head = table.createTHead().insertRow();
  head.append(...[unit, ...columns.map(({ name }) => name)].map((name) => heading(name, "col")));
  const body = table.createTBody();
  const some = columns.find(({ spread }) => spread)?.spread;
  for (const at of some?.shares.keys() ?? []) {
    const row = body.insertRow();
    row.append(heading(some ? label(some, at) : "", "row"));
    for (const { spread } of columns)
      row.insertCell().textContent = spread?.count ? `${rate((spread.shares[at] ?? 0) * 100)} %` : none;
  }
  const mean = table.createTFoot().insertRow();
  mean.append(heading(words().rhythm.average, "row"));
  for (const { spread } of columns) mean.insertCell().textContent = spread?.count ? rate(spread.mean) : none;
  return table;
}

function heading(text: string, scope: "col" | "row"): HTMLTableCellElement {
  const made = document.createElement("th");
  made.textContent = text;
  made.scope = scope;
  return made;
}
