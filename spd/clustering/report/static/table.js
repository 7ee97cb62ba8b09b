// The index's table: one row in <tbody> for each group shown. What is in a row is laid out only where it is seen (CSS
// content-visibility); rows are made once, and only moved when the table is sorted or filtered.

const COLUMNS = [
  { key: "id", name: "group", title: "its number in mapping files and addresses", number: true },
  { key: "what", name: isLanguage ? "mostly on" : R.data.kind === "toy" ? "mostly on" : "what", title: "its label, and what it fires on most" },
  { key: "verdict", name: "verdict", title: "what to make of it; hover for the reason" },
  { key: "confidence", name: "sure", title: "mean confidence of its components' places, 0 to 1", number: true },
  { key: "size", name: "size", title: "components", number: true },
  { key: "modules", name: "modules", title: "where its components lie, modules in order of execution" },
  { key: "rate", name: "fires on", title: "share of the samples on which it fires", number: true },
  { key: "bits", name: "bits", title: "entropy of the tokens that it fires on: 0 for one token", number: true },
  { key: "near", name: "near", title: "the group that fires most with it", number: true },
  { key: "effect", name: "effect", title: "what the output loses where it fires, when the group is ablated", number: true },
];

const TRUST_ORDER = { core: 0, stable: 1, sure: 1, tight: 2, likely: 3, split: 3, loose: 4, uncertain: 5, doubtful: 6, unseen: 7, alone: 8 };
const SORT_KEYS = {
  what: (row) => row.label || (row.tokens.length ? inputText(row.tokens[0][0]) : "\uffff"),
  verdict: (row) => TRUST_ORDER[row.verdict] ?? 9,
  modules: (row) => row.modules.length * 1000 + (row.modules.length ? row.modules[0][0] : 0),
};

const state = { sort: null, descending: false, filter: "", open: null, shown: R.index, match: () => true };

const visibleColumns = COLUMNS.filter(({ key }) => {
  if (key === "what") return true;
  return R.index.some((row) => row[key] !== null && row[key] !== undefined);
});

function makeHead() {
  byId("groups").style.setProperty("--columns", visibleColumns.map(({ key }) => `var(--w-${key})`).join(" "));
  byId("columns").append(...visibleColumns.map((column) =>
    el("th", { role: "columnheader", scope: "col", class: `c-${column.key}${column.number ? " number" : ""}`, "data-key": column.key },
      el("button", { type: "button", title: column.title, onclick: () => sortBy(column.key) }, column.name))));
}

function rowElement(row) {
  if (!row.element) {
    row.element = el("tr", { role: "row", id: `row-${row.id}`, "data-id": row.id });
    row.element.append(...visibleColumns.map((column) => cell(row, column)));
  }
  return row.element;
}

function cell(row, { key, number }) {
  const box = el("td", { role: "cell", class: `c-${key}${number ? " number" : ""}` });
  if (key === "id") box.append(el("a", { href: cuts.n === null ? `#group-${row.id}` : `#cut-${cuts.n}-group-${row.id}` }, String(row.id)));
  else if (key === "what") box.append(...whatOf(row));
  else if (key === "verdict") box.append(verdictMark(row.verdict, row.why));
  else if (key === "modules") box.append(strip(row.modules, row.size));
  else if (key === "rate") box.append(format.share(row.rate));
  else if (key === "bits") box.append(format.one(row.bits));
  else if (key === "confidence") box.append(format.two(row.confidence));
  else if (key === "effect") box.append(format.free(row.effect));
  else if (row[key] !== null && row[key] !== undefined) box.append(String(row[key]));
  return box;
}

/** A group's label, and the tokens that it fires on most; where there are none, its components. */
function whatOf(row, most) {
  const parts = [];
  if (row.label) parts.push(el("bdi", { class: "label", title: visible(row.label) }, visible(row.label)));
  const shown = row.tokens.slice(0, most || 8).filter(([, weight]) => weight > 0.12 * row.tokens[0][1]);
  const same = alike(shown.map(([id]) => id));
  for (const [id, share] of shown) parts.push(chip(id, same.has(id), `${isLanguage ? `token ${id}, ` : ""}${format.share(share)} ${isLanguage ? "of its strength" : "of its firing"}`));
  const text = row.top === undefined ? undefined : (R.data.texts || [])[row.top];
  if (text !== undefined) parts.push(el("bdi", { class: "text", title: `its strongest sample, ${row.top}` }, visible(text)));
  else if (!shown.length) {
    for (const at of row.members.slice(0, 3)) parts.push(el("bdi", { class: "component" }, visible(componentLabels[at])));
    if (row.members.length > 3) parts.push(el("span", { class: "soft" }, `and ${row.members.length - 3} more`));
  }
  return parts;
}

function sortBy(key) {
  if (state.sort === key) state.descending = !state.descending;
  else Object.assign(state, { sort: key, descending: ["size", "rate", "effect", "confidence"].includes(key) });
  for (const head of byId("columns").children) {
    const sorted = head.dataset.key === key;
    head.setAttribute("aria-sort", sorted ? (state.descending ? "descending" : "ascending") : "none");
  }
  showRows();
}

/** Fill <tbody> by the filter and the order; what comes without a value comes last. */
function showRows() {
  const source = cuts.rows || R.index;
  const match = state.match;
  let rows = source.filter(match);
  if (state.sort) {
    const read = SORT_KEYS[state.sort] || ((row) => row[state.sort]);
    const keyed = rows.map((row, at) => [read(row), at, row]);
    const sign = state.descending ? -1 : 1;
    keyed.sort(([a, atA], [b, atB]) => {
      const noA = a === null || a === undefined, noB = b === null || b === undefined;
      if (noA || noB) return noA - noB || atA - atB;
      return (typeof a === "string" ? sign * a.localeCompare(b) : sign * (a - b)) || atA - atB;
    });
    rows = keyed.map(([, , row]) => row);
  }
  state.shown = rows;
  attachRows(rows);
  byId("count").textContent = rows.length === source.length ? `${format.count(rows.length)} groups` : `${format.count(rows.length)} of ${format.count(source.length)} groups`;
  clearTimeout(state.marking); // the pictures follow once nobody is typing
  state.marking = setTimeout(() => markPictures(new Set(rows)), 200);
}

const FIRST_ROWS = 200, MORE_ROWS = 800;
let attaching = 0;

/** The first rows at once, the others in the moments that follow, so that no key press waits for thousands of them. */
function attachRows(rows) {
  const body = byId("rows"), turn = ++attaching;
  let done = Math.min(rows.length, FIRST_ROWS);
  body.replaceChildren(...rows.slice(0, done).map(rowElement));
  const more = () => {
    if (turn !== attaching || done >= rows.length) return;
    body.append(...rows.slice(done, done + MORE_ROWS).map(rowElement));
    done += MORE_ROWS;
    setTimeout(more);
  };
  if (done < rows.length) setTimeout(more, 30);
}

function setFilter(text) {
  state.filter = text;
  state.match = compileFilter(text);
  showRows();
}
