// A group in a sentence, and what speaks against trusting it: the same words in the index and on its page.

const CAUTIONS = {
  "hub": "fires on more than half of the samples: it tells little of any one input",
  "positional": "its firing follows the position in the sequence",
  "seldom together": "two of its components are seldom active together (mean Jaccard index below 0.2)",
  "never together": "some of its merges joined parts that are never active together",
  "like the controls": "at least one random set like it changes the output as much where it fires",
  "everywhere": "its ablation does not change the output at least 3 times as much where it fires as elsewhere",
  "weak": "its ablation hardly changes the output",
};
const FEW_FIRINGS = 30;

/** Sentences, none for a group that nothing speaks against; the verdict speaks for itself. */
function cautionsOf({ size, remarks, effect_verdict, rate }) {
  if (size < 2) return [];
  const found = [...remarks, effect_verdict].filter((word) => CAUTIONS[word]).map((word) => CAUTIONS[word]);
  const n = rate === null ? null : Math.round(rate * R.data.n_samples);
  if (n !== null && n < FEW_FIRINGS) found.push(`fires on ${n} of these samples only`);
  return found;
}

const isTrusted = (row) => trustOf(row.verdict) === "good" && !cautionsOf(row).length;

/** The leading inputs of a table: those that stand out and have at least `share` of the first one's weight, at most `n`. */
function leading(tokens, n, least, share) {
  const weight = (token) => token.weight ?? token.share;
  return (tokens || []).filter((token) => weight(token) >= Math.max(least, share * weight(tokens[0])) && token.lift >= 2).slice(0, n);
}

function inShort(group, row) {
  const parts = [];
  const say = (text, tokens, after) => {
    if (!tokens.length) return;
    const same = alike(tokens.map(({ id }) => id));
    parts.push(el("span", null, text, " ", ...tokens.map(({ id }) => chip(id, same.has(id))), after || null));
  };
  const fires = leading(group.tokens, isLanguage ? 6 : 3, 0, 0.25);
  const total = fires.reduce((sum, token) => sum + (token.weight ?? token.share), 0);
  if (isLanguage) {
    say("fires on", fires, `(${format.share(total)} of its strength)`);
    say("after", leading(group.previous_tokens, 5, 0.02, 0.1));
    say("before", leading(group.next_tokens, 5, 0.02, 0.1));
  } else if (R.data.kind === "toy") {
    say("fires with", fires, fires.length === 1 ? `(${format.share(total)} of its firing, mean value ${format.two(fires[0].mean)})` : null);
  }
  const effect = group.effect;
  if (effect && effect.verdict !== "weak") {
    if (effect.loses) say("without it, where it fires, less likely:", effect.loses.slice(0, 4).map(([id]) => ({ id })));
    else if (effect.outputs && effect.outputs.length) parts.push(el("span", null, "without it, where it fires, changes most ", el("bdi", { class: "chip" }, `output ${effect.outputs[0][0]}`)));
  }
  const cautions = cautionsOf(row);
  return [
    parts.length ? el("p", { class: "short" }, el("b", null, "In short "), ...parts) : null,
    cautions.length ? el("p", { class: "short caution" }, el("b", null, "Caution "), cautions.join("; ")) : null,
  ].filter(Boolean);
}
