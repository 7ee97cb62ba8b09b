// What is saved from the page: the table of the groups shown, and the mapping of the cut shown.

/** Text that a spreadsheet does not take for a formula. */
function csvCell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, "\"\"")}"` : safe;
}

function exportTable() {
  const names = ["id", "label", "verdict", "confidence", "size", "rate", "bits", "near", "effect", "components"];
  const rows = state.shown.map((row) => names.map((name) => csvCell(name === "components" ? row.members.map((at) => componentLabels[at]).join(" ") : row[name])).join(","));
  download("groups.csv", [names.join(","), ...rows].join("\n") + "\n", "text/csv");
}

/** In the form of get_cluster_mapping; a component alone has null. */
function exportMapping() {
  const rows = cuts.rows || R.index, { settings } = R;
  const group = new Map(rows.flatMap((row) => row.members.map((at) => [at, row.size > 1 ? row.id : null])));
  const clusters = Object.fromEntries(componentLabels.map((label, at) => [label, group.get(at) ?? null]));
  const named = R.index.filter((row) => row.label).map((row) => `; ${row.id}: ${row.label}`).join("");
  const notes = cuts.n === null ? settings.groups + named : `${cuts.n} groups of the merges behind: ${settings.groups}`;
  const spd_run = R.model.run ?? null;
  const iteration = cuts.n !== null ? nComponents - cuts.n - 1 : settings.n_merges ? settings.n_merges - 1 : null;
  const head = settings.ensemble === undefined
    ? { clustering_run_id: settings.run ?? null, notes, spd_run, iteration: iteration < 0 ? null : iteration }
    : { ensemble_id: settings.ensemble, notes, spd_run, n_iterations: null, run_idx: null };
  download("groups_mapping.json", `${JSON.stringify({ ...head, clusters }, null, 1)}\n`, "application/json");
}
