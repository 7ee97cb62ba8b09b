// Contexts: one line a place, the token itself in one column (as in a concordance), shaded by the group's strength.

const CONTEXT_BEFORE = 16, CONTEXT_AFTER = 16, SHOWN_AT_ONCE = 8;
const BAND_NAMES = ["Strongest places", "Half of its maximum and more", "A quarter to half of its maximum", "An eighth to a quarter", "Below an eighth"];

function shaded(id, strength, most, attributes) {
  const share = most > 0 ? Math.min(1, strength / most) : 0;
  const token = el("bdi", { class: "token", ...attributes }, visible(tokenText(id)));
  if (share > 0.004) token.style.setProperty("--heat", `${Math.round(8 + 72 * share)}%`);
  return token;
}

/** One line: value, tokens before, the token, tokens after. */
function contextLine(ids, context, most) {
  const at = context.sample;
  const length = R.data.sequence_length;
  const start = context.from === undefined ? Math.max(at - CONTEXT_BEFORE, at - (at % length)) : context.from;
  const end = Math.min(start + (context.around ? context.around.length : CONTEXT_BEFORE + 1 + CONTEXT_AFTER), at - (at % length) + length, ids.length);
  const tokens = [];
  for (let place = start; place < end; place++) {
    const strength = context.around ? context.around[place - start] : place === at ? context.strength : 0;
    tokens.push(shaded(ids[place], strength, most, {
      class: place === at ? "token at" : "token",
      title: `token ${ids[place]}, strength ${strength}${place === at ? whoIsActive(context) : ""}`,
    }));
  }
  const middle = at - start;
  const line = el("li", { class: "context", tabindex: 0, title: `sequence ${Math.floor(at / length)}, position ${at % length}` },
    el("span", { class: "value" }, format.two(context.strength)),
    el("span", { class: "before" }, el("span", null, ...tokens.slice(0, middle))),
    el("span", { class: "after" }, ...tokens.slice(middle)));
  line.addEventListener("click", () => line.classList.toggle("whole"));
  line.addEventListener("keydown", (event) => { if (event.key === "Enter") line.classList.toggle("whole"); });
  return line;
}

function whoIsActive(context) {
  if (!context.active) return "";
  const shown = context.active.map(([component, value]) => `${value}  ${visible(componentLabels[component])}`);
  const more = context.n_active > context.active.length ? [`and ${context.n_active - context.active.length} more`] : [];
  return `\n${context.n_active} active:\n${[...shown, ...more].join("\n")}`;
}

/** A place of a toy model or a matrix: the features present, or the sample's number and text. */
function sampleLine(context, most, shares) {
  const parts = [];
  for (const [feature, value] of context.features || []) {
    const box = chip(feature);
    const share = (shares && shares.get(feature)) || 0;
    if (share > 0.2) box.style.setProperty("--heat", `${Math.round(60 * share)}%`);
    parts.push(el("span", { class: "pair" }, box, el("small", null, format.two(value))));
  }
  if (R.data.kind === "matrix") {
    const text = (R.data.texts || [])[context.sample];
    parts.push(el("span", { class: "mono soft" }, `sample ${context.sample}`), text === undefined ? null : el("bdi", { class: "text" }, visible(text)));
  }
  const value = el("span", { class: "value" }, format.two(context.strength));
  value.style.setProperty("--heat", `${Math.round(72 * Math.min(1, context.strength / (most || 1)))}%`);
  return el("li", { class: "context sample", title: `sample ${context.sample}${whoIsActive(context)}` }, value, el("span", { class: "after" }, ...parts.filter(Boolean)));
}

async function contextSections(group) {
  if (!group.contexts || !group.contexts.length) {
    return [section("Contexts", el("p", { class: "soft" }, R.data.kind ? "It fires on none of these samples." : "There are no samples in this report."))];
  }
  const ids = await corpus();
  const most = group.max_strength;
  const shares = new Map((group.tokens || []).map(({ id, share }) => [id, share]));
  const line = (context) => (ids.length ? contextLine(ids, context, most) : sampleLine(context, most, shares));
  const list = (contexts) => el("ol", { class: `contexts${ids.length ? "" : " samples"}` }, ...contexts.map(line));
  const top = group.contexts.filter(({ band }) => band === 0);
  const found = [section("Strongest places", el("div", null, ...firstOf(top, list)), `${top.length} of ${format.count(group.n_firing)}, by the mean importance of its components${ids.length ? "; click a line for all of it" : ""}`)];
  const weaker = [1, 2, 3, 4].map((band) => [band, group.contexts.filter((context) => context.band === band)]).filter(([, contexts]) => contexts.length);
  if (weaker.length) {
    found.push(el("details", { class: "section weaker", open: true }, el("summary", null, "Weaker places, drawn at random from each band of strength"),
      ...weaker.map(([band, contexts]) => el("div", null, el("h4", null, BAND_NAMES[band]), list(contexts)))));
  }
  return found;
}

/** The first places, and the others on demand: the strongest are often alike, and the weaker ones below say more. */
function firstOf(contexts, list) {
  const others = contexts.slice(SHOWN_AT_ONCE);
  if (others.length < 3) return [list(contexts)];
  const range = [others[0], others[others.length - 1]].map(({ strength }) => format.two(strength));
  const summary = `${others.length} more, ${range[0] === range[1] ? `all ${range[0]}` : `${range[0]} to ${range[1]}`}`;
  return [list(contexts.slice(0, SHOWN_AT_ONCE)), el("details", { class: "more" }, el("summary", null, summary), list(others))];
}

/** A component's own strongest places, and those while its group fires. */
async function memberPlaces(member, most) {
  const ids = await corpus();
  const part = (name, places) => places && places.length
    ? el("div", null, el("h4", null, name), el("ol", { class: `contexts${ids.length ? "" : " samples"}` }, ...places.map(([sample, strength]) => {
        const context = { sample, strength };
        return ids.length ? contextLine(ids, context, most) : sampleLine(context, most);
      })))
    : null;
  return [part("Its own strongest places", member.strongest), part("While its group fires", member.while_firing)].filter(Boolean);
}
