import highlight from "@11ty/eleventy-plugin-syntaxhighlight";
import markdown from "markdown-it";

/** The pages in the order of the menu; the reference follows by itself. */
const menu = [
  ["index", "Quick start"],
  ["teaching", "Teaching a voice"],
  ["embedding", "Embedding"],
  ["package", "The package"],
  ["how-it-works", "How it works"],
  ["privacy", "Privacy"],
  ["limits", "Limits and numbers"],
  ["voices", "Six voices"],
  ["experiments", "What was tried"],
  ["troubleshooting", "Troubleshooting"],
  ["reference/index", "API reference"],
];

export default function (eleventy) {
  eleventy.addPlugin(highlight);
  eleventy.setUseGitIgnore(false);
  eleventy.ignores.add("**/node_modules/**");
  eleventy.ignores.add("**/site/**");
  const engine = markdown({ html: true, typographer: false });
  engine.use(anchors).use(pages);
  eleventy.setLibrary("md", engine);
  eleventy.addGlobalData("layout", "page.njk");
  eleventy.addGlobalData("menu", () => menu.map(([stem, title]) => ({ stem, title })));
  eleventy.addGlobalData(
    "permalink",
    () =>
      ({ page }) =>
        `${page.filePathStem}.html`,
  );
  // The path from a page back to the site's root, so that every link is relative.
  eleventy.addFilter("up", ({ filePathStem }) => "../".repeat(filePathStem.split("/").length - 2));
  eleventy.addFilter(
    "heading",
    (html) => /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(html)?.[1].replaceAll(/<[^>]+>/g, "") ?? "",
  );
  return { dir: { includes: "_includes" }, templateFormats: ["md"], markdownTemplateEngine: false };
}

/** Gives headings names to link to. */
function anchors(engine) {
  engine.core.ruler.push("anchors", ({ tokens }) => {
    const used = new Set();
    tokens.forEach((token, at) => {
      if (token.type !== "heading_open") return;
      const text = tokens[at + 1].content.toLowerCase().replaceAll(/[^\p{L}\p{N}\s-]/gu, "");
      const stem = text.trim().replaceAll(/\s+/g, "-");
      let name = stem;
      for (let n = 1; used.has(name); n += 1) name = `${stem}-${n}`;
      used.add(name);
      token.attrSet("id", name);
    });
  });
}

/** Leads links between Markdown files to the pages made of them, and tables into a frame that can scroll. */
function pages(engine) {
  engine.core.ruler.push("pages", ({ tokens }) => {
    for (const link of tokens.flatMap(({ children }) => children ?? [])) {
      const href = link.type === "link_open" ? link.attrGet("href") : null;
      if (href && !/^[a-z]+:/.test(href)) link.attrSet("href", href.replace(/\.md(?=#|$)/, ".html"));
    }
  });
  // A column's side as a class: the policy forbids styles in markup.
  engine.core.ruler.push("columns", ({ tokens }) => {
    for (const cell of tokens.filter(({ type }) => type === "th_open" || type === "td_open")) {
      const side = /text-align:(\w+)/.exec(cell.attrGet("style") ?? "")?.[1];
      cell.attrs = side ? [["class", side]] : [];
    }
  });
  engine.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>';
  engine.renderer.rules.table_close = () => "</table></div>";
}
