// Inside a group, around it, why it was merged, and what its ablation does.

const RELATIONS = {
  jaccard: ["Jaccard", "active together, of the samples where either is", (both, a, b) => both / (a + b - both)],
  both: ["coactivation", "share of the samples where both are active", (both) => both / R.data.n_samples],
  row: ["P(column | row)", "where the row's component is active, the column's is too", (both, a) => both / a],
  column: ["P(row | column)", "where the column's component is active, the row's is too", (both, a, b) => both / b],
};

function insideSection(group) {
  const counts = group.inside && group.inside.both;
  if (!counts || counts.length < 2) return null;
  const n = counts.length, cell = Math.max(7, Math.min(20, Math.floor(360 / n)));
  const names = group.members.slice(0, n).map((member) => member.label);
  const drawing = svg("svg", { class: "matrix", width: n * cell, height: n * cell, viewBox: `0 0 ${n * cell} ${n * cell}`, role: "img", "aria-label": "components by components" });
  const squares = [];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const square = svg("rect", { x: j * cell, y: i * cell, width: cell - 1, height: cell - 1 });
      squares.push([square, i, j]);
      drawing.append(square);
    }
  }
  const paint = (kind) => {
    const [, , value] = RELATIONS[kind];
    const values = squares.map(([, i, j]) => (i === j && kind === "jaccard" ? 1 : value(counts[i][j], counts[i][i], counts[j][j]) || 0));
    const most = kind === "both" ? Math.max(...values) || 1 : 1;
    squares.forEach(([square, i, j], at) => {
      square.style.setProperty("--share", `${(100 * values[at] / most).toFixed(1)}%`);
      square.replaceChildren(svgTitle(`${visible(names[i])}\n${visible(names[j])}\n${RELATIONS[kind][0]} ${kind === "both" ? format.share(values[at]) : format.two(values[at])}`));
    });
  };
  const choose = el("select", { "aria-label": "what the matrix shows", onchange: () => paint(choose.value) },
    ...Object.entries(RELATIONS).map(([kind, [name, title]]) => el("option", { value: kind, title }, name)));
  paint("jaccard");
  const labels = cell >= 11 ? el("ol", { class: "names mono", style: { "line-height": `${cell}px` } }, ...names.map((name) => el("li", null, visible(name)))) : null;
  const note = n < group.size ? `the ${n} that are active most while it fires` : "";
  return section("Inside", el("div", { class: "inside" }, labels, drawing), note, choose);
}

function aroundSection(group) {
  if (!group.around) return null;
  const rows = group.around.map((other) => {
    const row = R.index.find((one) => one.id === other.group);
    return [el("td", null, el("a", { href: `#group-${other.group}` }, String(other.group))), format.two(other.jaccard), format.share(other.both), format.free(other.cost), el("td", { class: "what" }, ...(row ? whatOf(row, 3) : []))];
  });
  if (!rows.length) return section("Around", el("p", { class: "soft" }, "No other group fires together with it."));
  return section("Around", plainTable([
    { name: "group", title: "those whose firing is most like its own" },
    { name: "Jaccard", title: "both fire, of the samples where either does", number: true },
    { name: "both", title: "share of the samples where both fire", number: true },
    { name: "cost", title: "change of the description length by merging the two, bits a sample: below 0 it would pay", number: true },
    { name: "mostly on", title: "what the other group fires on most" },
  ], rows));
}

/** The merges that made the group: leaves in the order of the tree, each merge a bracket, later ones to the right. */
function mergesSection(group) {
  const merges = group.merges;
  if (!merges || !merges.length) return null;
  const flagged = merges.filter((merge) => merge.never_together).length;
  const note = flagged ? `${flagged} of ${merges.length} joined parts that are never active together` : "each joined parts that are active together";
  const table = plainTable([
    { name: "iteration", title: "merges before this one in the whole history", number: true },
    { name: "one part", title: "a component of the part, and how many more of this group were in it" },
    { name: "other part", title: "likewise" },
    { name: "cost", title: "change of the description length, bits a sample", number: true },
    { name: "both", title: "share of the samples where both parts are active (any component of each)", number: true },
    { name: "Jaccard", title: "both parts active, of the samples where either is", number: true },
    { name: "remark", title: "never together: the parts are never both active on these samples; with others: a part also held components of other groups" },
  ], merges.map((merge) => [
    String(merge.iteration), partName(merge.a, merge.size_a), partName(merge.b, merge.size_b), format.free(merge.cost), format.share(merge.both),
    format.two(merge.jaccard), el("td", { class: "flag" }, [merge.never_together ? "never together" : "", merge.with_others ? "with others" : ""].filter(Boolean).join(", ")),
  ]));
  const drawing = merges.length <= 60 ? mergeTree(group, merges) : null;
  return section("Why merged", el("div", null, drawing, el("details", null, el("summary", null, "each merge in numbers"), table)), note);
}

const partName = (component, size) => el("td", { class: "mono" }, visible(componentLabels[component]) + (size > 1 ? ` and ${size - 1} more` : ""));

function mergeTree(group, merges) {
  const parts = new Map(group.members.map(({ component }) => [component, { leaves: [component], x: 0 }]));
  const joined = [];
  merges.forEach((merge, at) => {
    const a = parts.get(merge.a), b = parts.get(merge.b);
    if (!a || !b) return;
    const node = { leaves: [...a.leaves, ...b.leaves], x: at + 1, a, b, merge };
    joined.push(node);
    parts.delete(merge.b);
    parts.set(merge.a, node);
  });
  const order = [...parts.values()].flatMap((part) => part.leaves);
  const place = new Map(order.map((component, at) => [component, at]));
  const step = 17, left = 8 + 6.6 * Math.max(...order.map((at) => componentLabels[at].length)), width = Math.max(120, Math.min(420, 24 * merges.length));
  const x = (node) => left + (width * node.x) / merges.length;
  const y = (node) => (node.a ? (y(node.a) + y(node.b)) / 2 : place.get(node.leaves[0]) * step + step / 2);
  const drawing = svg("svg", { class: "tree", width: left + width + 20, height: order.length * step + 4, role: "img", "aria-label": "merges of the group" });
  for (const component of order) drawing.append(axisText(left - 6, place.get(component) * step + step / 2 + 4, visible(componentLabels[component]), "end", { class: "mono" }));
  for (const node of joined) {
    const { merge } = node;
    const path = svg("path", { d: `M${x(node.a)} ${y(node.a)}H${x(node)}V${y(node.b)}H${x(node.b)}`, class: merge.never_together ? "never" : "join" });
    const dot = svg("circle", { cx: x(node), cy: y(node), r: 3.2, class: merge.never_together ? "never" : "join" });
    dot.append(svgTitle(`iteration ${merge.iteration}\ncost ${format.free(merge.cost)} bits a sample\nboth active on ${format.share(merge.both)}\nJaccard ${format.two(merge.jaccard)}${merge.never_together ? "\nnever active together" : ""}`));
    drawing.append(path, dot);
  }
  return el("div", { class: "scroll" }, drawing);
}

function effectSection(group) {
  const effect = group.effect;
  if (!effect) return null;
  const unit = effect.unit;
  const kinds = [["ablate", "Ablated", "its components' masks at 0, all others at 1"], ["keep", "Kept alone in its modules", "all other components of its modules at 0"]];
  const rows = kinds.filter(([key]) => effect[key]).map(([key, name, title]) => {
    const one = effect[key];
    const controls = one.controls.map(({ firing }) => firing);
    return [el("td", { title }, name), format.free(one.firing), format.free(one.elsewhere), controls.length ? format.free(controls.reduce((a, b) => a + b, 0) / controls.length) : "", controls.length ? `${format.free(Math.min(...controls))} to ${format.free(Math.max(...controls))}` : "", controls.length ? `${one.beats} of ${controls.length}` : ""];
  });
  const table = plainTable([
    { name: "masks", title: "ablated: the group's components at 0, all others at 1; kept alone: all other components of its modules at 0" },
    { name: "where it fires", title: `${unit}: mean over the samples on which the group fires`, number: true },
    { name: "elsewhere", title: "the same over the samples on which it does not fire", number: true },
    { name: "control", title: "mean of random sets of as many components of the same modules and like rates, where the group fires", number: true },
    { name: "range", title: "least and greatest of these sets", number: true },
    { name: "beats", title: "ablated: sets that change the output less than the group does where it fires; kept alone: sets that recover less of the output", number: true },
  ], rows);
  const list = (name, items, text) => items && items.length
    ? el("div", null, el("h4", null, name), el("p", { class: "chips" }, ...items.map(([id, value]) => el("span", { class: "pair" }, text(id), el("small", null, format.free(value))))))
    : null;
  const output = (id) => el("bdi", { class: "chip" }, `output ${id}`);
  const note = `${unit}; ${format.count(effect.n_firing)} samples where it fires, ${format.count(effect.n_elsewhere)} where it does not`;
  return section("Effect", el("div", null, el("p", { class: "why" }, el("span", { class: `verdict ${effect.verdict === "specific" ? "good" : effect.verdict === "weak" ? "doubt" : "mixed"}` }, effect.verdict), el("span", { class: "reason" }, effect.why)), table,
    list("Loses probability when ablated, mean over the samples where it fires", effect.loses, (id) => chip(id)), list("Gains probability, likewise", effect.gains, (id) => chip(id)),
    list("Outputs changed when ablated, mean over the samples where it fires", effect.outputs, output)), note);
}
