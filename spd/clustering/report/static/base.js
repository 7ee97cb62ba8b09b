"use strict";
// Elements, numbers and marks. Text of others is only ever set as text, never parsed as markup.

const R = JSON.parse(document.getElementById("head").textContent);
const byId = (id) => document.getElementById(id);
const isLanguage = R.data.kind === "language";

/** An element. Attributes of null or undefined are left out, `on...` are listeners, `style` is an object. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

const svgTitle = (text) => svg("title", null, text);

const format = {
  count: (value) => Number(value).toLocaleString("en"),
  /** 14.1%, 1.53%, 0.023% */
  share(value) {
    if (value === null || value === undefined) return "";
    const percent = 100 * value;
    if (percent === 0) return "0%";
    const digits = percent >= 99.95 ? 0 : percent >= 10 ? 1 : percent >= 0.1 ? 2 : 3;
    return `${percent.toFixed(digits)}%`;
  },
  two: (value) => (value === null || value === undefined ? "" : value.toFixed(2)),
  one: (value) => (value === null || value === undefined ? "" : value.toFixed(1)),
  lift: (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1)),
  /** Three significant digits, for numbers of any size. */
  free(value) {
    if (value === null || value === undefined) return "";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 100) return value.toFixed(0);
    if (size >= 0.001) return value.toPrecision(3);
    return value.toExponential(1);
  },
};

// Line ends, control characters, and characters that are not seen or turn the direction of text, as marks.
const HIDDEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]/gu;
const MARKS = { "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d", "\u00a0": "\u237d" };
const visible = (text) =>
  text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0);
    if (MARKS[found]) return MARKS[found];
    if (code < 32) return String.fromCodePoint(0x2400 + code);
    return `\u27e8${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });

const tokenText = (id) => {
  const text = R.token_texts[id];
  return text === undefined ? `#${id}` : text === "" ? "\u2205" : text;
};

/** What a group is mostly on has a name by the kind of data. */
function inputText(id) {
  if (isLanguage) return tokenText(id);
  if (R.data.kind === "toy") return `feature ${id}`;
  return `sample ${id}`;
}

/** A token or feature in a box; a leading space shows as a dot. `withId`: told apart from others that read alike. */
function chip(id, withId, title) {
  const text = visible(inputText(id));
  const box = el("bdi", { class: "chip", title: title || (isLanguage ? `token ${id}` : null) });
  const spaces = isLanguage ? text.length - text.trimStart().length : 0;
  if (spaces) box.append(el("i", null, "\u00b7".repeat(spaces)));
  box.append(text.slice(spaces) || (spaces ? "" : text));
  if (withId) box.append(el("small", null, ` ${id}`));
  return box;
}

/** Which of these ids read alike. */
function alike(ids) {
  const seen = new Map();
  for (const id of ids) seen.set(inputText(id), (seen.get(inputText(id)) || 0) + 1);
  return new Set(ids.filter((id) => seen.get(inputText(id)) > 1));
}

const TRUST = { core: "good", stable: "good", tight: "good", sure: "good", split: "mixed", loose: "mixed", likely: "mixed", alone: "alone", "other cut": "alone" };
const trustOf = (verdict) => TRUST[verdict] || "doubt";

function verdictMark(verdict, why) {
  return el("span", { class: `verdict ${trustOf(verdict)}`, title: why || R.verdicts[verdict] }, verdict);
}

/** The modules in order, each a cell that is darker the more of the group's components lie in it. */
function strip(modules, size) {
  const n = R.module_names.length;
  const shares = new Array(n).fill(0);
  for (const [module, count] of modules) shares[module] = count / size;
  const stops = shares.map((share, at) => {
    const color = share ? `color-mix(in srgb, var(--accent) ${Math.round(25 + 75 * share)}%, var(--cell))` : "var(--cell)";
    return `${color} ${(100 * at) / n}% ${(100 * (at + 1)) / n}%`;
  });
  const names = modules.map(([module, count]) => `${R.module_names[module]}: ${count}`).join("\n");
  return el("span", { class: "strip", title: names, style: { background: `linear-gradient(90deg, ${stops.join(",")})` } });
}

/** A column's number with a bar behind it. */
function barCell(value, text, most) {
  const width = most > 0 ? Math.max(0, Math.min(1, value / most)) : 0;
  return el("td", { class: "number bar", style: { "--width": `${(100 * width).toFixed(1)}%` } }, text);
}

/** A plain table: columns are {name, title (what it means), number}, rows are lists of cells (elements are cells already). */
function plainTable(columns, rows, attributes) {
  const head = columns.map((column) =>
    el("th", { class: column.number ? "number" : null, title: column.title, scope: "col" }, column.name));
  const body = rows.map((row) =>
    row instanceof Element
      ? row
      : el("tr", null, ...row.map((cell, at) =>
          cell instanceof HTMLTableCellElement
            ? cell
            : el("td", { class: columns[at].number ? "number" : null }, cell))));
  return el("table", { class: "plain", ...attributes }, el("thead", null, el("tr", null, ...head)), el("tbody", null, ...body));
}

const unpacked = new Map();

/** Bytes of a deflated block of this page. */
async function unpack(name) {
  const coded = atob(byId(name).textContent);
  const bytes = Uint8Array.from(coded, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** The whole of group number `at` of the index. */
async function detail(at) {
  const chunk = Math.floor(at / R.chunk_size);
  if (!unpacked.has(chunk)) {
    unpacked.set(chunk, unpack(`chunk-${chunk}`).then((bytes) => JSON.parse(new TextDecoder().decode(bytes))));
  }
  return (await unpacked.get(chunk))[at % R.chunk_size];
}

let corpusPromise = null;

/** Token ids of all samples, one after the other. */
function corpus() {
  if (!byId("corpus")) return Promise.resolve(new Uint32Array(0));
  corpusPromise = corpusPromise || unpack("corpus").then((bytes) => new Uint32Array(bytes));
  return corpusPromise;
}

function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
