// The page of one group.

function section(title, body, note, tool) {
  return el("section", { class: "section" }, el("h3", null, title, note ? el("small", null, note) : null, tool || null), body);
}

const fact = (value, name, title) => el("div", { class: "fact", title }, el("dt", null, name), el("dd", null, value));

async function groupPage(row, at) {
  const group = await detail(at);
  const neighbours = { previous: step(row, -1), next: step(row, 1) };
  const head = el("header", { class: "group-head" },
    el("div", { class: "line" },
      el("h2", null, `Group ${row.id}`, group.label ? el("bdi", { class: "label" }, visible(group.label)) : null),
      el("nav", null,
        neighbours.previous ? el("a", { href: `#group-${neighbours.previous.id}`, title: "previous in the index (k)", rel: "prev" }, "\u2039") : null,
        neighbours.next ? el("a", { href: `#group-${neighbours.next.id}`, title: "next in the index (j)", rel: "next" }, "\u203a") : null,
        el("a", { href: "#", title: "back to the index (Esc)", class: "close" }, "\u00d7"))),
    el("p", { class: "why" }, verdictMark(group.verdict), el("span", { class: "reason" }, group.why), ...group.remarks.map((remark) => el("span", { class: "remark", title: CAUTIONS[remark] }, remark))),
    ...inShort(group, row), partsOf(group), sharedOf(group), factsOf(group, row), firingSentence(group));
  const body = await bodyOf(group);
  const legend = legendOf(head, ...body);
  const show = () => { legend.open = true; legend.scrollIntoView({ block: "start" }); };
  head.querySelector("nav").prepend(el("button", { type: "button", class: "help", title: "what the columns and figures mean", "aria-label": "what the columns and figures mean", onclick: show }, "?"));
  return [head, ...body, legend];
}

function factsOf(group, row) {
  const facts = [fact(String(group.size), group.size === 1 ? "component" : "components", "how many it has")];
  if (group.firing_rate !== null) facts.push(fact(format.share(group.firing_rate), "fires on", `${format.count(group.n_firing)} of ${format.count(R.data.n_samples)} samples; it fires where ${group.size === 1 ? "its component is active" : FIRES_WHERE}`));
  if (isLanguage) facts.push(fact(format.one(group.token_entropy), "bits of tokens", "entropy of the tokens on which it fires: 0 for a single token, 8 for 256 equally frequent ones"));
  if (group.inside && group.inside.mean_jaccard !== null) facts.push(fact(format.two(group.inside.mean_jaccard), "mean Jaccard", "of two of its components: both active, of the samples where either is; mean over pairs"));
  if (group.confidence !== null) facts.push(fact(format.two(group.confidence), "confidence", "mean over its components of how sure their place is"));
  if (isLanguage) facts.push(fact(format.two(group.positional), "positional", "share of its firing's entropy that the position in the sequence tells, 0 to 1"));
  if (group.effect) facts.push(fact(format.free(group.effect.ablate.firing), "effect", `of its ablation where it fires: ${group.effect.unit}`));
  const modules = Object.entries(group.modules).map(([module, count]) => el("span", null, el("b", null, String(count)), ` ${module}`));
  facts.push(el("div", { class: "fact wide", title: "where its components lie: the strip has a cell for each module in order of execution" }, el("dt", null, Object.keys(group.modules).length === 1 ? "module" : "modules"), el("dd", null, strip(row.modules, row.size), el("span", { class: "modules mono" }, ...modules))));
  const nested = [["within", group.inside_of, "groups within whose firing nearly all of its own lies"], ["holds", group.holds, "groups nearly all of whose firing lies within its own"]];
  for (const [name, others, title] of nested) {
    if (others && others.length) facts.push(el("div", { class: "fact wide", title }, el("dt", null, name), el("dd", null, ...others.map(([id, share]) => el("a", { href: `#group-${id}`, title: `${format.share(share)} of the outer group's firing` }, `group ${id}`)))));
  }
  return el("dl", { class: "facts" }, ...facts);
}

const isEnsemble = Boolean(R.settings.n_members);
/** The other groups of all its components alike, where they are the same; else null. */
function sharedAlso(group) {
  const [first, ...others] = group.members.map(({ also }) => JSON.stringify(also));
  return group.size > 1 && first !== "[]" && others.every((one) => one === first) ? group.members[0].also : null;
}

const alsoLink = ([other, share]) => el("a", { href: `#group-${other}`, class: "also" }, `${other} (${format.share(share)})`);

function sharedOf(group) {
  const also = sharedAlso(group);
  if (!also) return null;
  return el("p", { class: "short" }, el("b", null, isEnsemble ? "In some members together with group " : "All its components also serve group "), ...also.map(alsoLink), isEnsemble ? el("span", { class: "soft" }, "(share of the members)") : null);
}

async function bodyOf(group) {
  const parts = await partsSection(group), contexts = await contextSections(group);
  const wide = el("div", { class: "two" }, tokensSection(group), el("div", null, besideSection("What comes next", "next token", group.next_tokens), besideSection("What comes before", "token before", group.previous_tokens), positionsSection(group)));
  return [
    parts,
    ...contexts,
    wide,
    effectSection(group),
    membersSection(group),
    el("div", { class: "two" }, insideSection(group), aroundSection(group)),
    mergesSection(group),
    linksSection(group),
  ].filter(Boolean);
}

const INPUTS = {
  token: "those on which it fires, first those that make it differ from the base rates most",
  feature: "those present when it fires, most often first",
  "next token": "those that come after a token on which it fires",
  "token before": "those that come before a token on which it fires",
};

function inputTable(tokens, what) {
  const same = alike(tokens.map(({ id }) => id));
  const most = Math.max(...tokens.map(({ weight, share }) => weight ?? share));
  const columns = [
    { name: what, title: INPUTS[what] },
    ...(isLanguage ? [{ name: "of its strength", title: "share of the group's summed strength", number: true }] : []),
    { name: isLanguage ? "of its firing" : "share", title: "share of the samples where it fires; read as a detector, its precision", number: true },
    { name: "lift", title: "share over the token's base rate", number: true },
    { name: "recall", title: "of the token's places, those on which the group fires", number: true },
  ];
  const withMean = tokens.some(({ mean }) => mean !== undefined);
  if (withMean) columns.push({ name: "mean value", title: "where it is present and the group fires", number: true });
  return plainTable(columns, tokens.map((token) => [
    el("td", null, chip(token.id, same.has(token.id))), ...(isLanguage ? [barCell(token.weight, format.share(token.weight), most), format.share(token.share)] : [barCell(token.share, format.share(token.share), most)]), format.lift(token.lift), format.share(token.recall),
    ...(withMean ? [format.two(token.mean)] : []),
  ]));
}

function tokensSection(group) {
  if (!group.tokens || !group.tokens.length) return null;
  return isLanguage ? section("Fires on", inputTable(group.tokens, "token")) : section("Features present when it fires", inputTable(group.tokens, "feature"));
}

function besideSection(title, name, tokens) {
  return tokens && tokens.length ? section(title, inputTable(tokens, name)) : null;
}

function positionsSection(group) {
  if (!group.positions || group.positions.length < 2) return null;
  const most = Math.max(...group.positions) || 1, n = group.positions.length, width = 300, height = 44;
  const drawing = svg("svg", { class: "bars", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "firing rate along the sequence" });
  group.positions.forEach((rate, at) => {
    const tall = Math.max(0.5, (height * rate) / most);
    drawing.append(svg("rect", { x: (width * at) / n, y: height - tall, width: width / n - 1, height: tall }, svgTitle(`${format.share(rate)} of the samples in stretch ${at + 1} of ${n}`)));
  });
  return section("Along the sequence", drawing, "firing rate from the first position to the last");
}

function membersSection(group) {
  const measured = group.members.some((member) => member.rate !== undefined);
  const sure = group.members.some((member) => member.confidence !== null);
  const also = !sharedAlso(group) && group.members.some((member) => member.also.length);
  const parts = stableParts(group), hasParts = partsOf(group) !== null;
  const columns = [{ name: "component", title: "module and number; those first that are active most while the group fires" }];
  if (measured) columns.push(
    { name: "active on", title: "share of the samples on which it is active", number: true },
    { name: "when it fires", title: "P(active | the group fires)", number: true },
    { name: "group fires then", title: "P(the group fires | active)", number: true },
    { name: "Jaccard", title: "it is active and the group fires, of the samples where either is so", number: true });
  if (sure) columns.push({ name: "sure", title: isEnsemble ? "share of the members in which it is together with another component of the group, mean over these" : "how sure its place in this group is, 0 to 1", number: true });
  if (hasParts) columns.push({ name: "part", title: "the stable part that it is in, by its letter above; none: in no stable group" });
  if (also) columns.push(isEnsemble ? { name: "in some members with", title: "other groups that it is together with, and in which share of the members" } : { name: "also serves", title: "other groups that explain a share of its activity" });
  const shown = group.members.slice(0, 300);
  const rows = shown.map((member) => {
    const name = measured && member.strongest
      ? el("button", { type: "button", class: "link mono", "aria-expanded": "false", onclick: () => togglePlaces(row, member, name, columns.length) }, visible(member.label))
      : el("span", { class: "mono" }, visible(member.label));
    const cells = [el("td", null, name)];
    if (measured) cells.push(format.share(member.rate), barCell(member.given_group, format.share(member.given_group), 1), format.share(member.group_given), format.two(member.jaccard));
    if (sure) cells.push(format.two(member.confidence));
    if (hasParts) cells.push(el("td", { class: "part" }, partLetter(parts, member.part)));
    if (also) cells.push(el("td", null, ...member.also.map(alsoLink)));
    const row = el("tr", null, ...cells.map((cell, at) => (cell instanceof Element ? cell : el("td", { class: columns[at].number ? "number" : null }, cell))));
    return row;
  });
  const note = group.members.length > shown.length ? `${shown.length} of ${group.members.length}, those active most while it fires` : measured ? "click one for its own places" : "";
  return section("Components", plainTable(columns, rows), note);
}

async function togglePlaces(row, member, button, width) {
  const isOpen = row.nextSibling && row.nextSibling.classList && row.nextSibling.classList.contains("places");
  button.setAttribute("aria-expanded", String(!isOpen));
  if (isOpen) return row.nextSibling.remove();
  const cell = el("td", { colspan: width }, ...(await memberPlaces(member, 1)));
  row.after(el("tr", { class: "places" }, cell));
}

function linksSection(group) {
  const links = [el("button", { type: "button", onclick: () => navigator.clipboard && navigator.clipboard.writeText(group.members.map(({ label }) => label).join("\n")) }, "copy its components")];
  if (group.neuronpedia) links.push(el("a", { href: group.neuronpedia, rel: "noreferrer noopener", target: "_blank" }, "Neuronpedia list"));
  return el("footer", { class: "links" }, ...links, el("span", { class: "soft mono" }, `members ${group.hash}`));
}

/** The group before or after in the order shown. */
function step(row, by) {
  const at = state.shown.findIndex((one) => one.id === row.id);
  return at < 0 ? null : state.shown[at + by] || null;
}
