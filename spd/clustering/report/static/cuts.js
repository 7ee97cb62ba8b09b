// Other cuts: the merges as pairs of components give the groups at any number; sizes, modules and labels follow at once.

const cuts = { rows: null, n: null };
const nComponents = componentLabels.length;
const moduleOfComponent = componentLabels.map((label) => {
  const found = label.match(/^(.+):\d+$/s);
  return R.module_names.indexOf(found ? found[1] : label);
});

function makeSlider() {
  if (!R.merges.length) return;
  const least = nComponents - R.merges.length;
  const input = el("input", { type: "range", id: "slider", min: least, max: nComponents, step: 1, value: R.summary.n_groups,
    "aria-label": "number of groups", oninput: () => setCut(Number(input.value)) });
  const back = el("button", { type: "button", id: "back", hidden: true, onclick: () => { location.hash = ""; setCut(null); } }, "back to the report's");
  byId("cut").append(el("label", null, "other cuts ", input), el("output", { id: "cut-now" }), back);
  showCut();
}

/** Groups after all but `n` merges are undone: `n` of them; null: those of the report. */
function setCut(n) {
  cuts.n = n;
  cuts.rows = n === null ? null : rowsAt(n);
  document.body.classList.toggle("other-cut", n !== null);
  showCut();
  showRows();
}

function showCut() {
  if (!byId("slider")) return;
  byId("slider").value = cuts.n === null ? R.summary.n_groups : cuts.n;
  byId("cut-now").textContent = cuts.n === null ? `${format.count(R.summary.n_groups)} groups, as reported` : `${format.count(cuts.n)} groups; \u2013: known only of the groups found, and contexts are theirs`;
  byId("back").hidden = cuts.n === null;
}

/** The component that stands for the group of each, after the first merges. */
function rootsAfter(nMerges) {
  const root = Int32Array.from({ length: nComponents }, (_, at) => at);
  const find = (at) => {
    while (root[at] !== at) at = root[at] = root[root[at]];
    return at;
  };
  for (let merge = 0; merge < nMerges; merge++) {
    const a = find(R.merges[merge][0]), b = find(R.merges[merge][1]);
    root[Math.max(a, b)] = Math.min(a, b);
  }
  return root.map((_, at) => find(at));
}

let reportGroupOf = null;

function rowsAt(n) {
  if (!reportGroupOf) {
    reportGroupOf = new Int32Array(nComponents).fill(-1);
    R.index.forEach((row, at) => row.members.forEach((component) => { reportGroupOf[component] = at; }));
  }
  const byRoot = new Map();
  rootsAfter(nComponents - n).forEach((root, component) => {
    if (!byRoot.has(root)) byRoot.set(root, []);
    byRoot.get(root).push(component);
  });
  const rows = [...byRoot.values()].map(cutRow);
  return rows.sort((a, b) => b.size - a.size);
}

/** A row like those of the report, of what can be told: a whole group of the report keeps all. */
function cutRow(members, id) {
  const parts = new Map();
  for (const component of members) parts.set(reportGroupOf[component], (parts.get(reportGroupOf[component]) || 0) + 1);
  const found = [...parts].sort((a, b) => b[1] - a[1]);
  const [main, count] = found[0];
  const source = R.index[main];
  if (source && found.length === 1 && count === source.size) return { ...source, element: undefined, cells: undefined, light: undefined, isFull: undefined, id, same: source.id, text: undefined };
  const modules = new Map();
  for (const component of members) modules.set(moduleOfComponent[component], (modules.get(moduleOfComponent[component]) || 0) + 1);
  return {
    id, members, size: members.length, parts: found,
    label: found.map(([at]) => R.index[at] && R.index[at].label).filter(Boolean).slice(0, 3).join(" + ") || null,
    verdict: members.length === 1 ? "alone" : "other cut", why: "", confidence: null, remarks: [],
    modules: [...modules].sort((a, b) => a[0] - b[0]).filter(([module]) => module >= 0),
    rate: members.length === 1 && R.components.rate ? R.components.rate[members[0]] : null, bits: null, near: null, effect: null,
    tokens: source ? source.tokens : [], next: source ? source.next : [], place: source ? source.place : undefined,
  };
}

/** The page of a group of another cut: its components, by the report's groups that they are in. */
function cutGroupPage(row) {
  const parts = row.parts || [[R.index.findIndex((one) => one.id === row.same), row.size]];
  const rows = parts.map(([at, count]) => {
    const source = R.index[at];
    return [el("td", null, el("a", { href: `#group-${source.id}` }, `group ${source.id}`)), `${count} of ${source.size}`, el("td", { class: "what" }, ...whatOf(source))];
  });
  const made = section("Made of", plainTable([
    { name: "group of the report", title: "those whose components are in this group of the cut" },
    { name: "components", title: "how many of the report's group are in this one", number: true },
    { name: "mostly on", title: "what the report's group fires on most" },
  ], rows));
  return [
    el("p", { class: "soft" }, "Contexts and figures are of the report's groups; open one of those that it is made of."),
    made,
    section("Components", el("p", { class: "mono wrap" }, row.members.map((at) => visible(componentLabels[at])).join("  "))),
    legendOf(made),
  ];
}
