// Head of the page, addresses, keys; then everything is shown.

const THEMES = ["auto", "light", "dark"];

function makeTop() {
  const { model, settings, summary, data } = R;
  byId("title").textContent = `Groups of ${visible(String(model.name))}`;
  const samples = data.kind === "language"
    ? `measured on ${format.count(data.n_samples)} tokens (${format.count(data.n_sequences)} sequences of ${data.sequence_length}${data.seed === undefined ? "" : `, seed ${data.seed}`})`
    : data.kind ? `measured on ${format.count(data.n_samples)} samples${data.seed === undefined ? "" : ` (seed ${data.seed})`}` : "nothing measured";
  const parts = [settings.groups, settings.activation_threshold === undefined ? null : `active above ${settings.activation_threshold}`, samples, data.kind ? `a group fires where ${FIRES_WHERE}` : null];
  byId("subtitle").textContent = parts.filter(Boolean).map((part) => visible(String(part))).join(" \u00b7 ");
  const tiles = [
    fact(format.count(summary.n_alive), "components alive", "those that were grouped; components that are hardly ever active are dead (filter_dead_threshold)"),
    summary.n_dead === null ? null : fact(format.count(summary.n_dead), "dead", "components of these modules that were left out"),
    fact(format.count(summary.n_groups_of_two), "groups of two or more", "sets of components that were found to belong together"),
    fact(format.count(summary.n_alone), "alone", "components that no group took in"),
  ];
  if (settings.n_members) tiles.push(fact(String(settings.n_members), "members", "clusterings of the ensemble that are compared"));
  if (settings.mean_adjusted_rand !== undefined && settings.mean_adjusted_rand !== null) tiles.push(fact(format.two(settings.mean_adjusted_rand), "agreement", "mean adjusted Rand index of two members: 1 for equal partitions, 0 by chance"));
  const counts = Object.entries(summary.verdicts).sort((a, b) => (TRUST_ORDER[a[0]] ?? 9) - (TRUST_ORDER[b[0]] ?? 9));
  const verdicts = el("div", { class: "fact wide", title: "groups by what to make of them; click one to see only these" }, el("dt", null, "verdicts"), el("dd", { class: "verdicts" }, ...counts.map(([verdict, count]) =>
    el("button", { type: "button", title: R.verdicts[verdict], onclick: () => typeFilter(verdict) }, verdictMark(verdict, R.verdicts[verdict]), ` ${format.count(count)}`))));
  byId("about").append(el("dl", { class: "facts" }, ...tiles.filter(Boolean), verdicts),
    ...[...R.missing, ...R.left_out].map((sentence) => el("p", { class: "note" }, visible(sentence))));
}

/** What verdicts, settings, columns and keys mean: above the table, since its end may be thousands of rows away. */
function makeWords() {
  const verdicts = Object.entries(R.verdicts).flatMap(([verdict, meaning]) => [el("dt", null, verdictMark(verdict)), el("dd", null, meaning)]);
  const keys = [["/", "filter"], ["j", "next group"], ["k", "previous group"], ["Esc", "back"]].flatMap(([key, what]) => [el("dt", null, el("kbd", null, key)), el("dd", null, what)]);
  const columns = legendOf(byId("about"), byId("columns"));
  columns.append(el("h4", null, "Keys"), el("dl", null, ...keys));
  byId("words").append(
    el("details", { class: "meaning legend" }, el("summary", null, "What the verdicts mean, and how the groups were made"), el("dl", null, ...verdicts),
      ...settingsList("How the groups were made", R.settings), ...settingsList("What they were measured on", R.data)),
    columns);
}

/** Each setting under its own heading: the two of the name `threshold` are not the same. */
function settingsList(heading, settings) {
  const known = Object.entries(settings).filter(([, value]) => value !== undefined && value !== null && typeof value !== "object");
  if (!known.length) return [];
  return [el("h4", null, heading), el("dl", { class: "settings" }, ...known.flatMap(([key, value]) => [el("dt", { class: "mono" }, key), el("dd", null, visible(String(value)))]))];
}

function makeBar() {
  const filter = byId("filter");
  filter.placeholder = EXAMPLES.join("   ");
  filter.addEventListener("input", () => setFilter(filter.value));
  byId("exports").append(el("button", { type: "button", title: "the groups shown, as a table", onclick: exportTable }, "CSV"), " ",
    el("button", { type: "button", title: "all components and their groups, as the SPD app reads them; of the cut shown", onclick: exportMapping }, "mapping"));
}

function typeFilter(word) {
  byId("filter").value = byId("filter").value.trim() === word ? "" : word;
  setFilter(byId("filter").value);
}

function makeTheme() {
  let at = 0;
  const show = () => {
    document.documentElement.dataset.theme = THEMES[at];
    byId("theme").textContent = { auto: "\u25d0", light: "\u25cb", dark: "\u25cf" }[THEMES[at]];
    byId("theme").title = `colours: ${THEMES[at]}`;
  };
  byId("theme").addEventListener("click", () => { at = (at + 1) % THEMES.length; show(); });
  show();
}

/** Show what the address names: #group-12, #cut-40, #cut-40-group-3; else the index. */
async function followAddress() {
  const found = location.hash.match(/^#(?:cut-(\d+))?-?(?:group-(\d+))?$/);
  if (found && found[1] !== undefined && Number(found[1]) !== cuts.n && R.merges.length) setCut(Math.max(nComponents - R.merges.length, Math.min(nComponents, Number(found[1]))));
  const id = found && found[2] !== undefined ? Number(found[2]) : null;
  const article = byId("group");
  const source = found && found[1] !== undefined && cuts.rows ? cuts.rows : R.index;
  const at = id === null ? -1 : source.findIndex((row) => row.id === id);
  state.open = at < 0 ? null : source[at];
  document.querySelectorAll("#rows tr.open").forEach((row) => row.classList.remove("open"));
  document.body.classList.toggle("has-group", state.open !== null || id !== null);
  if (id === null) {
    article.hidden = true;
    markOpen(null);
    return;
  }
  article.hidden = false;
  if (at < 0) {
    article.replaceChildren(el("header", { class: "group-head" }, el("h2", null, `There is no group ${id}`), el("p", null, el("a", { href: "#" }, "back to the index"))));
    return;
  }
  const row = state.open;
  if (row.element) {
    row.element.classList.add("open");
    scrollToRow(row);
  }
  markOpen(row.id);
  let content;
  try {
    content = source === R.index ? await groupPage(row, at) : [el("header", { class: "group-head" }, el("h2", null, `Group ${row.id} of ${cuts.n}`)), ...cutGroupPage(row)];
  } catch (error) {
    content = [el("p", { class: "note" }, `This group cannot be shown by this browser (${error.message}); report.json holds all of it.`)];
  }
  if (state.open !== row) return; // another one was opened meanwhile
  article.replaceChildren(...content);
  article.scrollTop = 0;
  if (getComputedStyle(byId("index")).display === "none") scrollTo(0, 0);
}

function makeKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "Escape") {
      if (isTyping) document.activeElement.blur();
      else if (state.open) location.hash = "";
    } else if (isTyping) return;
    else if (event.key === "/") {
      event.preventDefault();
      byId("filter").focus();
    } else if (event.key === "j" || event.key === "k") {
      const next = state.open ? step(state.open, event.key === "j" ? 1 : -1) : state.shown[0];
      if (next) openRow(next);
    }
  });
  byId("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) openRow({ id: Number(row.dataset.id) });
  });
}

function openRow(row) {
  location.hash = cuts.n === null ? `group-${row.id}` : `cut-${cuts.n}-group-${row.id}`;
}

function start() {
  byId("top").hidden = byId("main").hidden = false;
  makeTheme();
  makeTop();
  makeHead();
  makeBar();
  makeSlider();
  makeWords();
  showRows();
  makePictures();
  makeKeys();
  watchRows();
  watchPrinter();
  addEventListener("hashchange", followAddress);
  followAddress();
  performance.mark("ready");
  document.documentElement.dataset.ready = "yes";
  setTimeout(prepareSearch, 200, 0);
}

start();
