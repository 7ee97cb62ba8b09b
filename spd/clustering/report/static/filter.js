// Filters as people write them: size>3  rate<0.01  *mlp*  " the"  next:king  stable  -hub  #12

const NUMBERS = {
  size: (row) => row.size,
  rate: (row) => row.rate,
  bits: (row) => row.bits,
  confidence: (row) => row.confidence,
  conf: (row) => row.confidence,
  effect: (row) => row.effect,
  modules: (row) => row.modules.length,
  id: (row) => row.id,
};

const EXAMPLES = ["size>3", "rate<0.01", `*${(R.module_names[0] || "").split(".").pop()}*`, ...(isLanguage ? ["\" the\"", "next:is"] : []), "trusted", "-alone"];

const componentLabels = R.components.labels;

const COMPARISON = /^([a-z]+)(<=|>=|<|>|=|:)(.*)$/i, A_NUMBER = /^-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?%?$/i;
const isNumberName = (name) => Object.hasOwn(NUMBERS, name.toLowerCase());

/** What was typed: `match` (row) -> boolean, all words must; `fields`, the numbers compared; `misread`, a sentence for each
    word that is not understood, which is left out. */
function compileFilter(text) {
  const spaced = text.replace(/(^|\s)(-?)([a-z]+)\s*(<=|>=|<|>|=)\s*(?=[-.\d])/gi, (all, before, not, name, sign) => (isNumberName(name) ? before + not + name + sign : all));
  const words = spaced.match(/-?(?:next:)?"[^"]*"?|\S+/gi) || [];
  const found = words.map((word) => [word, sayMisread(word)]);
  const tests = found.filter(([, why]) => !why).map(([word]) => compileWord(word));
  const fields = words.map((word) => (word.replace(/^-/, "").match(COMPARISON) || [])[1]).filter((name) => name && isNumberName(name));
  return { match: (row) => tests.every((test) => test(row)), fields, misread: found.map(([, why]) => why).filter(Boolean) };
}

/** Why a word is not understood; null: it is. Text with a sign in it that is no comparison is looked for as it stands. */
function sayMisread(word) {
  const [, name, sign, value] = word.replace(/^-/, "").match(COMPARISON) || [];
  if (name === undefined || (isNumberName(name) && A_NUMBER.test(value))) return null;
  const left = `\u201c${visible(word)}\u201d is not understood and left out: `;
  if (isNumberName(name)) return `${left}a number comes after ${name.toLowerCase()}${sign}, as in size>3 or rate<1%.`;
  if (sign === ":" || !A_NUMBER.test(value)) return null;
  return `${left}numbers are ${Object.keys(NUMBERS).filter((one) => one !== "conf").join(", ")}, as in size>3 or rate<1%; text goes in quotes.`;
}

/** Below the field: what was not understood; else why nothing is shown. */
function showNote(nShown, source) {
  const unknown = state.fields.filter((name) => source.every((row) => NUMBERS[name.toLowerCase()](row) === null || NUMBERS[name.toLowerCase()](row) === undefined));
  const sentences = [...state.misread, ...unknown.map((name) => `No group has a number \u201c${name.toLowerCase()}\u201d here.`)];
  if (!sentences.length && !nShown && state.filter.trim()) sentences.push(`No group matches all of it: words are looked for in labels, verdicts, remarks, components and what a group is mostly on${isLanguage ? "; next:word finds what comes next where it fires" : ""}.`);
  if (byId("filter-note").textContent !== sentences.join(" ")) byId("filter-note").textContent = sentences.join(" ");
  byId("filter").setAttribute("aria-invalid", String(state.misread.length > 0));
}

function compileWord(word) {
  if (word.length > 1 && word.startsWith("-")) {
    const inner = compileWord(word.slice(1));
    return (row) => !inner(row);
  }
  const comparison = word.match(COMPARISON);
  if (comparison && isNumberName(comparison[1])) return compileComparison(comparison);
  if (isLanguage && /^next:./i.test(word)) {
    const found = inputTest(word.slice("next:".length));
    return (row) => row.next.some((id) => found(inputText(id)));
  }
  if (/^#\d+$/.test(word)) return (row) => row.id === Number(word.slice(1));
  if (word.startsWith("\"")) {
    const found = inputTest(word), wanted = unquoted(word);
    return (row) => mostlyOn(row).some(([id]) => found(inputText(id))) || (row.label || "").includes(wanted);
  }
  if (word.includes("*")) return compilePattern(word);
  const lower = word.toLowerCase();
  if (lower === "trusted") return isTrusted;
  if (Object.hasOwn(R.verdicts, lower) || Object.hasOwn(R.summary.verdicts, lower)) return (row) => row.verdict === lower;
  return (row) => searchText(row).includes(lower);
}

const unquoted = (word) => word.replace(/^"|"$/g, "");

/** Whether a token is the word in quotes, all of it; without quotes, whether the word is in it, in any case. */
function inputTest(word) {
  if (word.startsWith("\"")) return (text) => text === unquoted(word);
  return (text) => text.toLowerCase().includes(word.toLowerCase());
}

function compileComparison([, name, sign, digits]) {
  const value = parseFloat(digits) / (digits.endsWith("%") ? 100 : 1);
  const read = NUMBERS[name.toLowerCase()];
  const compare = {
    "<": (x) => x < value, ">": (x) => x > value, "<=": (x) => x <= value, ">=": (x) => x >= value,
    "=": (x) => x === value, ":": (x) => x === value,
  }[sign];
  return (row) => {
    const found = read(row);
    return found !== null && found !== undefined && compare(found);
  };
}

/** `*` stands for any characters, in the names of modules and components. */
function compilePattern(word) {
  const escaped = word.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
  const pattern = new RegExp(`^${escaped}$`, "i");
  const modules = R.module_names.map((name) => pattern.test(name));
  return (row) =>
    row.modules.some(([module]) => modules[module]) || row.members.some((at) => pattern.test(componentLabels[at]));
}

/** Everything of a row that a bare word is looked for in, in lower case; made once. */
function searchText(row) {
  if (row.text === undefined) {
    row.text = [
      row.label || "", row.verdict, ...row.remarks, row.effect_verdict || "",
      ...mostlyOn(row).map(([id]) => inputText(id)), ...row.members.map((at) => componentLabels[at]),
    ].join("\n").toLowerCase();
  }
  return row.text;
}
