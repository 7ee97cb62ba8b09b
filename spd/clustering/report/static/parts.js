// The stable parts of a group that is not to be trusted whole: each with its rate, its tokens, its places and its components.

const PART_LETTERS = "abcdefghijklmnopqrstuvwxyz", MAX_PARTS = 12, MAX_PART_COMPONENTS = 60;

/** [[stable group, its components here]], the largest first: the letters of the parts follow this order. */
function stableParts(group) {
  const counts = new Map();
  for (const { part } of group.members) if (part !== null && part !== undefined) counts.set(part, (counts.get(part) || 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return parts.length === 1 && parts[0][1] === group.size ? [] : parts; // a group that is stable as it is has none
}

const partLetter = (parts, part) => {
  const at = parts.findIndex(([one]) => one === part);
  return at < 0 ? "" : PART_LETTERS[at] || String(part);
};

/** In the head of a group: its parts, each a way to where it is shown. */
function partsOf(group) {
  const parts = stableParts(group);
  if (!parts.length) return null;
  const rest = group.size - parts.reduce((sum, [, count]) => sum + count, 0);
  const names = parts.map(([part, count], at) => {
    const letter = el("b", { class: "part" }, partLetter(parts, part)), text = ` ${count} components`;
    if (at >= MAX_PARTS) return el("span", { class: "pair" }, letter, text);
    const go = () => {
      const box = byId(`part-${part}`);
      box.scrollIntoView({ block: "start" });
      box.focus({ preventScroll: true });
    };
    return el("button", { type: "button", class: "pair link", title: "what this part is on, and its components", onclick: go }, letter, text);
  });
  return el("p", { class: "short" }, el("b", null, parts.length === 1 ? "Stable part " : "Stable parts "), ...names, rest ? el("span", { class: "soft" }, `${rest} in none`) : null);
}

const labelsOf = (members) => {
  const more = members.length > MAX_PART_COMPONENTS ? [`and ${members.length - MAX_PART_COMPONENTS} more`] : [];
  return el("p", { class: "mono wrap" }, [...members.slice(0, MAX_PART_COMPONENTS).map(({ label }) => visible(label)), ...more].join("  "));
};

async function partsSection(group) {
  const parts = stableParts(group);
  if (!parts.length) return null;
  const ids = await corpus();
  const measured = new Map((group.parts || []).map((part) => [part.part, part]));
  const boxes = parts.slice(0, MAX_PARTS).map(([number]) => partBox(group, parts, number, measured.get(number), ids));
  const rest = group.members.filter(({ part }) => part === null || part === undefined);
  const note = `${parts.length === 1 ? "trust this" : "trust each of these"} rather than the whole; a part fires by the same rule as a group`;
  return section(parts.length === 1 ? "Stable part" : "Stable parts", el("div", null, ...boxes,
    rest.length ? el("div", { class: "part-box" }, el("h4", null, `In no part: ${rest.length}`), labelsOf(rest)) : null,
    parts.length > MAX_PARTS ? el("p", { class: "soft" }, `${parts.length - MAX_PARTS} more: see the column \u201cpart\u201d of the components`) : null), note);
}

function partBox(group, parts, number, found, ids) {
  const members = group.members.filter(({ part }) => part === number);
  const figures = [`${members.length} components`];
  if (found) figures.push(`fires on ${format.share(found.firing_rate)}`);
  if (found && found.token_entropy !== null) figures.push(`${format.one(found.token_entropy)} bits`);
  const weight = (token) => token.weight ?? token.share;
  const leading = found ? found.tokens.filter((token) => weight(token) > 0.12 * weight(found.tokens[0])) : [];
  const same = alike(leading.map(({ id }) => id));
  const tokens = leading.map((token) => el("span", { class: "pair" }, chip(token.id, same.has(token.id)), el("small", null, format.share(weight(token)))));
  const line = ([sample, strength]) => (ids.length ? contextLine(ids, { sample, strength }, found.max_strength) : sampleLine({ sample, strength }, found.max_strength));
  const places = found && found.strongest.length && (ids.length || R.data.kind === "matrix") ? el("ol", { class: `contexts${ids.length ? "" : " samples"}` }, ...found.strongest.map(line)) : null;
  return el("div", { class: "part-box", id: `part-${number}`, tabindex: -1 },
    el("h4", null, el("b", { class: "part" }, partLetter(parts, number)), ` ${figures.join(", ")} `, el("small", null, `stable group ${number} of stable_groups.json`)),
    tokens.length ? el("p", { class: "chips" }, el("span", { class: "soft" }, isLanguage ? "mostly on " : "with "), ...tokens) : null,
    places, labelsOf(members));
}
