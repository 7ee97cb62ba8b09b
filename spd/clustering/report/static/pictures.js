// Three pictures over the index: groups by size and firing rate, modules by groups, agreement (or description length)
// along the number of groups. All in SVG; a click opens the group.

const W = 400, H = 210;
const EDGE = { left: 50, right: 12, top: 10, bottom: 32 };
const spotOf = new Map();

function makePictures() {
  const found = [scatterPicture(), modulesPicture(), curvePicture()].filter((picture) => picture !== null);
  byId("pictures").append(...found);
}

function figure(title, note, drawing) {
  return el("figure", null, el("figcaption", null, title, el("small", null, note)), drawing);
}

const frame = (label) => svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "picture" });

function axisText(x, y, text, anchor, extra) {
  return svg("text", { x, y, "text-anchor": anchor || "middle", ...extra }, text);
}

/** Ticks 1, 10, 100 ... (with 2 and 5 between where there is room) inside a logarithmic range. */
function logTicks(low, high) {
  const factors = Math.log10(high / low) > 2.2 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

function scatterPicture() {
  const rows = R.index.filter((row) => row.rate > 0);
  if (!rows.length) return null;
  const rates = rows.map((row) => row.rate);
  const low = Math.min(...rates.length > 50000 ? [1e-6] : rates) / 1.3, high = Math.min(1, Math.max(...rates)) * 1.3;
  const most = Math.max(2, ...rows.map((row) => row.size));
  const x = (size) => EDGE.left + 8 + ((W - EDGE.left - EDGE.right - 16) * Math.log(size)) / Math.log(most);
  const y = (rate) => EDGE.top + ((H - EDGE.top - EDGE.bottom) * Math.log(high / rate)) / Math.log(high / low);
  const picture = frame("groups by size and firing rate");
  for (const tick of logTicks(low, high)) {
    picture.append(svg("line", { x1: EDGE.left, x2: W - EDGE.right, y1: y(tick), y2: y(tick), class: "grid" }),
      axisText(EDGE.left - 6, y(tick) + 4, `${Number((100 * tick).toPrecision(2))}%`, "end"));
  }
  const sizes = most > 12 ? logTicks(1, most) : Array.from({ length: most }, (_, at) => at + 1);
  for (const tick of sizes) picture.append(axisText(x(tick), H - EDGE.bottom + 16, String(tick)));
  picture.append(axisText((W + EDGE.left) / 2, H - 3, "components", "middle", { class: "soft" }));
  const room = Math.min(10, (x(2) - x(1)) * 0.3, x(most) - x(most - 1));
  for (const row of rows) {
    const shift = (((row.id * 2654435761) % 1000) / 1000 - 0.5) * room; // groups of one size side by side
    const spot = svg("circle", { cx: (x(row.size) + shift).toFixed(1), cy: y(row.rate).toFixed(1), r: rows.length > 800 ? 2 : 3.4,
      class: `spot ${trustOf(row.verdict)}`, "data-id": row.id });
    spot.append(svgTitle(`group ${row.id}: ${row.size} components, fires on ${format.share(row.rate)}, ${row.verdict}`));
    spotOf.set(row.id, spot);
    picture.append(spot);
  }
  picture.addEventListener("click", (event) => {
    if (event.target.dataset.id) location.hash = `group-${event.target.dataset.id}`;
  });
  return figure("Size and firing rate", "a point each group; click opens it", picture);
}

function modulesPicture() {
  const names = R.module_names;
  const groups = R.index.filter((row) => row.size > 1).slice(0, 400);
  if (names.length < 2 || !groups.length) return null;
  groups.sort((a, b) => a.modules[0][0] - b.modules[0][0] || b.modules.length - a.modules.length || b.size - a.size);
  const longest = Math.max(...names.map((name) => name.length));
  const left = Math.min(170, 8 + 6.2 * longest);
  const height = Math.min(30, (H - EDGE.top - EDGE.bottom) / names.length), width = (W - left - EDGE.right) / groups.length;
  const picture = frame("which modules each group spans");
  const shades = [[], [], [], []];
  groups.forEach((row, at) => {
    for (const [module, count] of row.modules) {
      const shade = Math.min(3, Math.floor((4 * count) / row.size));
      shades[shade].push(`M${(left + at * width).toFixed(2)} ${(EDGE.top + module * height).toFixed(2)}h${Math.max(width - 0.3, 0.5).toFixed(2)}v${(height - 1).toFixed(2)}h-${Math.max(width - 0.3, 0.5).toFixed(2)}z`);
    }
  });
  shades.forEach((paths, shade) => picture.append(svg("path", { d: paths.join(""), class: `shade${shade}` })));
  const every = Math.max(1, Math.ceil(12 / height));
  names.forEach((name, at) => {
    if (at % every) return;
    const short = name.length > 26 ? `\u2026${name.slice(-25)}` : name;
    picture.append(axisText(left - 6, EDGE.top + at * height + height / 2 + 4, short, "end", { class: "mono" }));
  });
  const bottom = EDGE.top + names.length * height;
  picture.append(axisText(left + (W - left - EDGE.right) / 2, bottom + 15, `${groups.length} ${groups.length < R.summary.n_groups_of_two ? "largest groups" : "groups of two or more"}`, "middle", { class: "soft" }));
  const over = svg("rect", { x: left, y: EDGE.top, width: W - left - EDGE.right, height: bottom - EDGE.top, class: "over" });
  const title = svgTitle("");
  over.append(title);
  const at = (event) => {
    const box = over.getBoundingClientRect();
    return groups[Math.max(0, Math.min(groups.length - 1, Math.floor(((event.clientX - box.left) / box.width) * groups.length)))];
  };
  over.addEventListener("mousemove", (event) => {
    const row = at(event);
    title.textContent = `group ${row.id}\n${row.modules.map(([module, count]) => `${names[module]}: ${count}`).join("\n")}`;
  });
  over.addEventListener("click", (event) => { location.hash = `group-${at(event).id}`; });
  picture.append(over);
  picture.setAttribute("viewBox", `0 0 ${W} ${bottom + 22}`);
  return figure("Modules by groups", "darker: more of the group's components", picture);
}

function curvePicture() {
  const curve = R.agreement || R.description_length;
  if (!curve || curve.n_groups.length < 3) return null;
  const isAgreement = Boolean(R.agreement);
  const points = curve.n_groups.map((groups, at) => [groups, (curve.mean || curve.bits)[at], at]).filter(([groups, value]) => groups > 0 && value !== null);
  points.sort((a, b) => a[0] - b[0]);
  const values = points.map(([, value]) => value);
  const lowest = isAgreement ? 0 : Math.min(...values), highest = isAgreement ? 1 : Math.max(...values);
  const first = points[0][0], last = points[points.length - 1][0];
  const x = (groups) => EDGE.left + ((W - EDGE.left - EDGE.right) * Math.log(groups / first)) / Math.log(last / first || 2);
  const y = (value) => EDGE.top + ((H - EDGE.top - EDGE.bottom) * (highest - value)) / (highest - lowest || 1);
  const picture = frame(isAgreement ? "agreement along the number of groups" : "description length along the number of groups");
  const ticks = isAgreement ? [0, 0.25, 0.5, 0.75, 1] : [lowest, (lowest + highest) / 2, highest];
  for (const tick of ticks) {
    picture.append(svg("line", { x1: EDGE.left, x2: W - EDGE.right, y1: y(tick), y2: y(tick), class: "grid" }),
      axisText(EDGE.left - 6, y(tick) + 4, isAgreement ? String(tick) : format.free(tick), "end"));
  }
  for (const tick of logTicks(first, last)) picture.append(axisText(x(tick), H - EDGE.bottom + 16, format.count(tick)));
  picture.append(axisText((W + EDGE.left) / 2, H - 3, "groups", "middle", { class: "soft" }));
  if (isAgreement && curve.min) {
    const up = points.map(([groups, , at]) => `${x(groups).toFixed(1)} ${y(curve.max[at]).toFixed(1)}`);
    const down = points.map(([groups, , at]) => `${x(groups).toFixed(1)} ${y(curve.min[at]).toFixed(1)}`).reverse();
    picture.append(svg("path", { d: `M${up.concat(down).join("L")}z`, class: "band" }));
  }
  picture.append(svg("path", { d: `M${points.map(([groups, value]) => `${x(groups).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`, class: "curve" }));
  const isOnCurve = isAgreement || R.settings.n_merges !== undefined; // groups of another origin lie on no merge path
  const cut = Math.min(last, Math.max(first, R.summary.n_groups));
  if (isOnCurve) picture.append(svg("line", { x1: x(cut), x2: x(cut), y1: EDGE.top, y2: H - EDGE.bottom, class: "cut" }),
    axisText(x(cut) + (x(cut) > W * 0.7 ? -5 : 5), EDGE.top + 10, `this report: ${format.count(R.summary.n_groups)}`, x(cut) > W * 0.7 ? "end" : "start", { class: "strong" }));
  return isAgreement
    ? figure("Agreement of the members", "adjusted Rand index: mean, least and most", picture)
    : figure("Description length", "bits a sample along the merges", picture);
}

/** Groups that the filter leaves out are faint. */
function markPictures(shown) {
  if (cuts.rows) return;
  for (const row of R.index) {
    const spot = spotOf.get(row.id);
    const isOff = !shown.has(row);
    if (spot && isOff !== Boolean(row.isOff)) spot.classList.toggle("off", isOff);
    row.isOff = isOff;
  }
}

function markOpen(id) {
  document.querySelectorAll(".spot.open").forEach((spot) => spot.classList.remove("open"));
  const spot = spotOf.get(id);
  if (spot) {
    spot.classList.add("open");
    spot.parentNode.append(spot); // above the others
  }
}
