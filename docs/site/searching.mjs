/** How pages are found: the same for whoever makes the index and whoever asks it. */
export const searching = {
  fields: ["title", "heading", "text"],
  storeFields: ["title", "heading", "address"],
  searchOptions: { boost: { title: 4, heading: 3 }, prefix: true, fuzzy: 0.2, combineWith: "AND" },
};
