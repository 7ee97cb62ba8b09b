// Filters as people write them: size>3  rate<0.01  *mlp*  " the"  stable  -hub  #12

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

const EXAMPLES = ["size>3", "rate<0.01", `*${(R.module_names[0] || "").split(".").pop()}*`, ...(isLanguage ? ["\" the\""] : []), "trusted", "-alone"];

const componentLabels = R.components.labels;

/** One function (row) -> boolean for what was typed; all words must match. */
function compileFilter(text) {
  const words = text.match(/-?"[^"]*"?|\S+/g) || [];
  const tests = words.map(compileWord);
  return (row) => tests.every((test) => test(row));
}

function compileWord(word) {
  if (word.length > 1 && word.startsWith("-")) {
    const inner = compileWord(word.slice(1));
    return (row) => !inner(row);
  }
  const comparison = word.match(/^([a-z]+)(<=|>=|<|>|=|:)(-?[\d.]+(?:e-?\d+)?)(%?)$/i);
  if (comparison && NUMBERS[comparison[1].toLowerCase()]) return compileComparison(comparison);
  if (/^#\d+$/.test(word)) return (row) => row.id === Number(word.slice(1));
  if (word.startsWith("\"")) {
    const wanted = word.replace(/^"|"$/g, "");
    return (row) => row.tokens.some(([id]) => inputText(id).includes(wanted)) || (row.label || "").includes(wanted);
  }
  if (word.includes("*")) return compilePattern(word);
  const lower = word.toLowerCase();
  if (lower === "trusted") return isTrusted;
  if (R.verdicts[lower] || lower in R.summary.verdicts) return (row) => row.verdict === lower;
  return (row) => searchText(row).includes(lower);
}

function compileComparison([, name, sign, digits, percent]) {
  const value = Number(digits) / (percent ? 100 : 1);
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
      ...row.tokens.map(([id]) => inputText(id)), ...row.members.map((at) => componentLabels[at]),
    ].join("\n").toLowerCase();
  }
  return row.text;
}
