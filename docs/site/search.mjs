import MiniSearch from "minisearch";
import { searching } from "./searching.mjs";

const root = document.body.dataset.root;
const box = document.querySelector(".search");
const field = document.querySelector("#search");
const list = document.querySelector("#found");
const status = box.querySelector("[role=status]");
let loading;

// Without this script there is no search, so there is no field for one.
box.hidden = false;
field.addEventListener("focus", () => void load(), { once: true });
field.addEventListener("input", () => void find());
box.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  field.value = "";
  field.focus();
  void find();
});
document.addEventListener("click", ({ target }) => {
  if (!box.contains(target)) list.hidden = true;
});

/** The index is fetched when somebody wants to search. */
function load() {
  loading ??= fetch(`${root}site/search.json`)
    .then((answer) => answer.text())
    .then((json) => MiniSearch.loadJSON(json, searching));
  return loading;
}

async function find() {
  const index = await load();
  const wanted = field.value.trim();
  const found = wanted ? index.search(wanted).slice(0, 8) : [];
  list.replaceChildren(
    ...found.map(({ title, heading, address }) => entry(heading || title, heading && title, address)),
  );
  list.hidden = found.length === 0;
  status.textContent = wanted ? `${found.length || "no"} places found` : "";
}

function entry(name, where, address) {
  const link = document.createElement("a");
  link.href = root + address;
  link.textContent = name;
  const item = document.createElement("li");
  item.append(link);
  if (where) {
    const small = document.createElement("small");
    small.textContent = where;
    link.append(small);
  }
  return item;
}
