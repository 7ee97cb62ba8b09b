// What the words of the page mean. Every column's head and every figure has a title; for fingers and paper, which cannot
// hover, the titles are listed below as well.

const isPosterior = String(R.settings.firing_rule).startsWith("posterior");

/** When a group fires, in words: rates, bits, tokens and places all follow from it. */
const FIRES_WHERE = isPosterior
  ? "its posterior probability, given which of its components are active, is above one half"
  : "any of its components is active";

/** How far the firing of a group is that of all its components. */
function firingSentence(group) {
  if (group.firing_rate === null || group.size < 2) return null;
  const any = isPosterior ? `any of them on ${format.share(group.any_rate)} of the samples, ` : "";
  const most = group.most_rate ? `more than half on ${format.share(group.most_rate)}${any ? "" : " of the samples"}` : "never more than half";
  return el("p", { class: "short soft firing" }, `Fires where ${FIRES_WHERE}: ${format.one(group.mean_active)} of its ${group.size} components at once on average (${any}${most}).`);
}

/** Every head of a column and every figure under the roots, with its title, by the heading that it stands under. */
function legendOf(...roots) {
  const seen = new Set(), byHeading = new Map();
  for (const one of roots.flatMap((root) => [...root.querySelectorAll("th, .fact")])) {
    const name = (one.querySelector("dt") || one).textContent;
    const title = one.title || (one.querySelector("[title]") || one).title;
    if (!name || !title || seen.has(`${name}: ${title}`)) continue;
    seen.add(`${name}: ${title}`);
    const around = one.closest(".section"), heading = around ? around.querySelector("h3").firstChild.textContent : "";
    if (!byHeading.has(heading)) byHeading.set(heading, []);
    byHeading.get(heading).push([name, title]);
  }
  const lists = [...byHeading].flatMap(([heading, words]) => [heading ? el("h4", null, heading) : null,
    el("dl", null, ...words.flatMap(([name, title]) => [el("dt", null, name), el("dd", null, title)]))]);
  return el("details", { class: "meaning legend" }, el("summary", null, "What the columns and figures mean"), ...lists.filter(Boolean));
}

/** On paper the legends and all places are open, legends come last, and the filter and the cut are said: they cannot be seen there. */
function watchPrinter() {
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details:is(.legend, .more):not([open])").forEach((one) => { one.open = one.dataset.printed = true; });
    byId("index").append(byId("words"));
    const filter = state.filter.trim();
    byId("printed").textContent = [byId("count").textContent, filter ? `filter: ${visible(filter)}` : null, cuts.n === null ? null : `cut at ${format.count(cuts.n)} groups, where the report has ${format.count(R.summary.n_groups)}; \u2013: known only of these`].filter(Boolean).join(" \u00b7 ");
  });
  addEventListener("afterprint", () => {
    document.querySelectorAll("details[data-printed]").forEach((one) => { one.open = false; delete one.dataset.printed; });
    byId("about").after(byId("words"));
    byId("printed").textContent = "";
  });
}
