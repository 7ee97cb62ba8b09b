// The index's table: one row in <tbody> for each group shown. Where there are many groups, a row out of view holds its
// number and its text alone and is not laid out, so that thousands are filtered in a moment; it is whole when it is
// scrolled to. The browser's own search and a printer get the text of all.

const COLUMNS = [
  { key: "id", name: "group", title: "its number in mapping files and addresses", number: true },
  { key: "what", name: isLanguage ? "mostly on" : R.data.kind === "toy" ? "mostly on" : "what", title: "its label, and what it fires on most" },
  { key: "place", name: "strongest place", title: "where it is strongest: the token in its context" },
  { key: "verdict", name: "verdict", title: "what to make of it, with the reason on its page; !: something speaks against it all the same" },
  { key: "confidence", name: "sure", title: "mean confidence of its components' places, 0 to 1", number: true },
  { key: "size", name: "size", title: "how many components it has", number: true },
  { key: "modules", name: "modules", title: "where its components lie, modules in order of execution" },
  { key: "rate", name: "fires on", title: `share of the samples on which it fires, that is, where ${FIRES_WHERE}`, number: true },
  { key: "bits", name: "bits", title: `entropy of the tokens on which it fires, that is, where ${FIRES_WHERE}: 0 for a single token, 8 for 256 equally frequent ones`, number: true },
  { key: "near", name: "near", title: "the group whose firing is most like its own, by the Jaccard index", number: true },
  { key: "effect", name: "effect", title: "how much the output changes where it fires, when the group is ablated (measured for the largest groups); filled: specific, that is, at least 3 times as much there as elsewhere, and more than every random set like it; its page compares it kept alone, too", number: true },
];

const TRUST_ORDER = { core: 0, stable: 1, sure: 1, tight: 2, likely: 3, split: 3, loose: 4, uncertain: 5, doubtful: 6, unseen: 7, alone: 8 };
const SORT_KEYS = {
  what: (row) => row.label || (row.tokens.length ? inputText(row.tokens[0][0]) : "\uffff"),
  place: (row) => (row.place ? tokenText(row.place[0][row.place[1]]) : null),
  verdict: (row) => TRUST_ORDER[row.verdict] ?? 9,
  modules: (row) => row.modules.length * 1000 + (row.modules.length ? row.modules[0][0] : 0),
};

const state = { sort: null, descending: false, filter: "", match: () => true, fields: [], misread: [], open: null, shown: R.index, isWhole: true, isAll: false, seen: [], attached: [] };

const visibleColumns = COLUMNS.filter(({ key }) => {
  if (key === "what") return true;
  if (key === "place" && !isLanguage) return false;
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
    row.element = el("tr", { role: "row", id: `row-${row.id}`, "data-id": row.id, class: state.isWhole ? null : "far" });
    if (state.isWhole) fill(row);
    else lighten(row);
  }
  return row.element;
}

/** All cells of a row. */
function fill(row) {
  if (row.isFull) return;
  row.cells = row.cells || visibleColumns.map((column) => cell(row, column));
  row.element.replaceChildren(...row.cells);
  row.isFull = true;
}

/** Its number and its text alone. */
function lighten(row) {
  if (row.isFull === false) return;
  row.light = row.light || [el("td", { role: "cell" }, String(row.id)), el("td", { role: "cell" }, plainText(row))];
  row.element.replaceChildren(...row.light);
  row.isFull = false;
}

const plainText = (row) => visible([row.label || "", row.verdict, ...row.tokens.map(([id]) => inputText(id))].join(" "));

function cell(row, { key, number }) {
  const box = el("td", { role: "cell", class: `c-${key}${number ? " number" : ""}` });
  if (key === "id") box.append(el("a", { href: cuts.n === null ? `#group-${row.id}` : `#cut-${cuts.n}-group-${row.id}` }, String(row.id)));
  else if (key === "what") box.append(...whatOf(row));
  else if (key === "place") box.append(...placeOf(row));
  else if (key === "verdict") box.append(verdictMark(row.verdict, row.why), ...cautionMark(row));
  else if (key === "modules") box.append(strip(row.modules, row.size));
  else if (key === "rate") box.append(format.share(row.rate));
  else if (key === "bits") box.append(format.one(row.bits));
  else if (key === "confidence") box.append(format.two(row.confidence));
  else if (key === "near" && row.near !== null && cuts.n === null) box.append(el("a", { href: `#group-${row.near}` }, String(row.near)));
  else if (key === "effect") box.append(...effectOf(row));
  else if (row[key] !== null && row[key] !== undefined) box.append(String(row[key]));
  if (!box.textContent && !box.firstElementChild) box.append(...lackOf(row, key));
  return box;
}

const LACKS = { near: "no other group fires together with it", effect: "not measured: it is for the largest groups that fire", place: "it fires nowhere", bits: "it fires nowhere" };

/** What stands in place of a value: why there is none. */
function lackOf(row, key) {
  const why = row.parts ? "only for the groups found, not for other cuts" : LACKS[key] || "not known";
  return [el("span", { class: row.parts ? "lack" : "lack quiet", title: why, role: "img", "aria-label": why }, "\u2013")];
}

/** [[input, weight]] of those that a group is mostly on: what its row shows, and filters look in. */
function mostlyOn(row) {
  const least = isLanguage ? 0.12 : 0.3; // features are often present by chance
  return row.tokens.filter(([, weight]) => weight > least * row.tokens[0][1]);
}

/** A group's label, and the tokens that it fires on most; where there are none, its components. */
function whatOf(row, most) {
  const parts = [];
  if (row.label) parts.push(el("bdi", { class: "label", title: visible(row.label) }, visible(row.label)));
  const shown = mostlyOn(row).slice(0, most || 8);
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

/** The strongest place of a group: some tokens before it, itself marked, some after. */
function placeOf(row) {
  if (!row.place) return [];
  const [ids, at] = row.place;
  const text = (some) => visible(some.map(tokenText).join(""));
  return [el("span", { class: "before" }, el("bdi", null, text(ids.slice(0, at)))), el("bdi", { class: "token at" }, visible(tokenText(ids[at]))), el("bdi", null, text(ids.slice(at + 1)))];
}

function cautionMark(row) {
  const cautions = cautionsOf(row);
  return cautions.length ? [el("span", { class: "warn", title: cautions.join("\n"), "aria-label": `caution: ${cautions.join("; ")}` }, "!")] : [];
}

function effectOf(row) {
  if (row.effect === null || row.effect === undefined) return [];
  return [el("span", { class: `verdict ${effectTrust(row.effect_verdict)}`, title: row.effect_verdict }, ""), format.free(row.effect)];
}

const effectTrust = (verdict) => (verdict === "specific" ? "good" : verdict === "weak" ? "doubt" : "mixed");

const collator = new Intl.Collator();

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
      return (typeof a === "string" ? sign * collator.compare(a, b) : sign * (a - b)) || atA - atB;
    });
    rows = keyed.map(([, , row]) => row);
  }
  if (rows.length !== state.shown.length || rows.some((row, at) => row !== state.shown[at]) || !byId("rows").firstChild) {
    state.shown = rows;
    attachRows(rows, source.length);
  }
  byId("count").textContent = rows.length === source.length ? `${format.count(rows.length)} groups` : `${format.count(rows.length)} of ${format.count(source.length)} groups`;
  showNote(rows.length, source);
  clearTimeout(state.marking); // the pictures follow once nobody is typing
  state.marking = setTimeout(() => markPictures(new Set(rows)), 200);
}

const MANY_GROUPS = 1000, ROW_HEIGHT = 32, ROWS_BESIDE = 30;

/** A row for each group, at once: laid out with all cells where there are not many groups, else only those in view.
    Rows that stay are not touched, as far as the order of the others allows. */
function attachRows(rows, nGroups) {
  const body = byId("rows");
  state.isWhole = nGroups <= MANY_GROUPS;
  if (state.isAll) for (const row of state.attached) row.element.classList.add("far");
  state.isAll = false;
  const wanted = new Set(rows), stay = state.attached.filter((row) => wanted.has(row));
  let at = 0;
  for (const row of rows) if (row === stay[at]) at++;
  if (at < stay.length || !stay.length) body.replaceChildren(fragmentOf(rows));
  else {
    for (const row of state.attached) if (!wanted.has(row)) row.element.remove();
    let next = body.firstChild;
    for (const row of rows) {
      if (row.element && row.element === next) next = next.nextSibling;
      else body.insertBefore(rowElement(row), next);
    }
  }
  state.attached = rows;
  if (state.isWhole) body.style.setProperty("padding", "0");
  showSeen();
}

function fragmentOf(rows) {
  const all = document.createDocumentFragment();
  for (const row of rows) all.append(rowElement(row));
  return all;
}

/** Lay out the rows in view, or nearly; the others keep their place as empty room above and below. */
function showSeen(around) {
  if (state.isWhole) return;
  const body = byId("rows"), n = state.shown.length;
  const top = around === undefined ? -body.getBoundingClientRect().top / ROW_HEIGHT : around;
  const first = Math.max(0, Math.min(n, Math.floor(top) - ROWS_BESIDE));
  const last = Math.max(first, Math.min(n, Math.ceil(top + innerHeight / ROW_HEIGHT) + ROWS_BESIDE));
  const seen = state.shown.slice(first, last), kept = new Set(seen);
  seen.forEach(fill);
  if (state.isAll) return;
  for (const row of state.seen) {
    if (kept.has(row)) continue;
    if (row.element.contains(document.activeElement)) {
      kept.add(row); // the keyboard's place is not lost
      continue;
    }
    row.element.classList.add("far");
    lighten(row);
  }
  for (const row of seen) row.element.classList.remove("far");
  state.seen = [...kept];
  body.style.setProperty("padding-top", `${first * ROW_HEIGHT}px`);
  body.style.setProperty("padding-bottom", `${(n - last) * ROW_HEIGHT}px`);
}

/** Lay out all rows, for the browser's own search and for a printer; those out of view with their text. */
function showAll() {
  if (state.isWhole) return;
  for (const row of state.shown) row.element.classList.remove("far");
  state.isAll = true;
  byId("rows").style.setProperty("padding", "0");
}

function scrollToRow(row) {
  const at = state.shown.indexOf(row);
  if (at < 0) return;
  if (row.element.classList.contains("far")) showSeen(at);
  row.element.scrollIntoView({ block: "nearest" });
}

function watchRows() {
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; showSeen(); });
  };
  addEventListener("scroll", later, { capture: true, passive: true }); // the window, or the index beside a group
  addEventListener("resize", later);
  addEventListener("beforeprint", showAll);
  addEventListener("afterprint", () => attachRows(state.shown, (cuts.rows || R.index).length));
  addEventListener("keydown", (event) => {
    if (event.key === "F3" || ((event.ctrlKey || event.metaKey) && event.key === "f")) showAll();
  });
}

/** What filters look in is put together while nothing else is to be done. */
function prepareSearch(from) {
  const end = Math.min(R.index.length, from + 500);
  for (let at = from; at < end; at++) searchText(R.index[at]);
  if (end < R.index.length) setTimeout(prepareSearch, 20, end);
}

function setFilter(text) {
  Object.assign(state, { filter: text, ...compileFilter(text) });
  showRows();
}
