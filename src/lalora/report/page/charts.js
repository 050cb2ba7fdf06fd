"use strict";
// Scales, axes, marks and the tooltip: what every plot of the page is made of.

const drawers = []; // what draws the plots of each panel, at the width there is
const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function html(parent, name, properties = {}) {
  const node = Object.assign(document.createElement(name), properties);
  parent.append(node);
  return node;
}

function polygon(corners, turn, radius, inner = radius) {
  const at = (k) => {
    const angle = turn + (2 * Math.PI * k) / corners;
    const reach = k % 2 ? inner : radius;
    return (reach * Math.sin(angle)).toFixed(2) + " " + (-reach * Math.cos(angle)).toFixed(2);
  };
  return "M" + Array.from({ length: corners }, (_, k) => at(k)).join("L") + "Z";
}

// Shapes of about equal area, so that none looks more important than another.
const SHAPES = {
  circle: (r) => "M" + -r + " 0a" + r + " " + r + " 0 1 0 " + 2 * r + " 0a" + r + " " + r + " 0 1 0 " + -2 * r + " 0Z",
  diamond: (r) => polygon(4, 0, 1.25 * r),
  square: (r) => polygon(4, Math.PI / 4, 1.25 * r),
  triangle: (r) => polygon(3, 0, 1.4 * r),
  wedge: (r) => polygon(3, Math.PI, 1.4 * r),
  hexagon: (r) => polygon(6, 0, 1.1 * r),
  star: (r) => polygon(10, 0, 1.5 * r, 0.68 * r),
};

function mark(parent, shape, x, y, radius, extra = "") {
  return add(parent, "path", { class: "mark " + extra, d: SHAPES[shape](radius), transform: "translate(" + x + " " + y + ")" });
}

function niceTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const away = (s) => Math.abs(Math.log(s / rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).reduce((a, b) => (away(b) < away(a) ? b : a));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / power).includes(".") ? 1 : 0));
  return Array.from({ length: last - first + 1 }, (_, k) => {
    const value = (first + k) * step;
    return { value, text: fixed(value, digits) };
  });
}

function fixed(value, digits) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : value.toFixed(digits);
  return text.replace("-", "−");
}

function extent(values, share) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

// Values that agree to three digits are one value: its axis has one tick, so that no difference is drawn where none is.
const agree = (low, high) => high - low <= Math.max(5e-4 * Math.max(Math.abs(low), Math.abs(high)), 1e-6);

// What frame() needs of an axis: a logarithmic one where that is asked for and values span more than a decade.
function axis(values, share, log = false) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (agree(low, high)) {
    const room = Math.abs(high) || 1;
    return { domain: [low - room, high + room], ticks: [{ value: high, text: String(Number(high.toPrecision(3))).replace("-", "−") }] };
  }
  if (log && spansDecade(values)) {
    const room = (high / low) ** share;
    return { domain: [low / room, high * room], log: true };
  }
  return { domain: extent(values, share) };
}

const spansDecade = (values) => Math.min(...values) > 0 && Math.max(...values) > 10 * Math.min(...values);

function logTicks([low, high], count) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil((last - first + 1) / Math.max(2, count));
  const parts = last - first <= 2 ? [1, 2, 5] : [1];
  const raised = (power) => "10" + String(power).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
  const found = [];
  for (let power = first; power <= last; power += every) {
    for (const part of parts) {
      const value = part * 10 ** power;
      if (value >= low && value <= high) found.push({ value, text: first >= -4 && last <= 5 ? String(Number(value.toPrecision(1))) : (part > 1 ? part + "·" : "") + raised(power) });
    }
  }
  return found;
}

let frames = 0;

// An empty plot: grid, tick labels, titles. x and y are { domain, title, zero, ticks, log }; y.title stands above, never sideways.
function frame(host, height, x, y) {
  host.replaceChildren();
  const width = Math.max(220, Math.floor(host.clientWidth));
  const yCount = Math.round((height - 76) / 38);
  const yTicks = y.ticks || (y.log ? logTicks(y.domain, yCount) : niceTicks(y.domain[0], y.domain[1], yCount));
  const widest = Math.max(...yTicks.map((t) => t.text.length));
  const box = { left: 12 + 7 * widest, right: width - 10, top: 32, bottom: height - 44 };
  const svg = add(host, "svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "group" });
  const part = ({ domain, log }, v) => {
    const [low, high, at] = log ? [...domain, v].map(Math.log10) : [...domain, v];
    return (at - low) / (high - low);
  };
  const sx = (v) => box.left + part(x, v) * (box.right - box.left);
  const sy = (v) => box.bottom - part(y, v) * (box.bottom - box.top);
  const xCount = Math.floor((box.right - box.left) / 80);
  const xTicks = x.ticks || (x.log ? logTicks(x.domain, xCount) : niceTicks(x.domain[0], x.domain[1], xCount));
  const clip = "clip-" + frames++; // lines to marks beyond the axes end at the frame
  add(add(svg, "clipPath", { id: clip }), "rect", { x: box.left - 8, y: box.top - 8, width: box.right - box.left + 16, height: box.bottom - box.top + 16 });
  for (const tick of yTicks) {
    const at = sy(tick.value);
    add(svg, "line", { class: tick.value === 0 && y.zero ? "zero" : "grid", x1: box.left, x2: box.right, y1: at, y2: at });
    add(svg, "text", { x: box.left - 8, y: at + 4, "text-anchor": "end" }, tick.text);
  }
  for (const tick of xTicks) {
    const at = sx(tick.value);
    add(svg, "line", { class: tick.value === 0 && x.zero ? "zero" : "grid", x1: at, x2: at, y1: box.top, y2: box.bottom });
    add(svg, "text", { x: at, y: box.bottom + 18, "text-anchor": "middle" }, tick.text);
  }
  add(svg, "text", { class: "title", x: 0, y: 14 }, y.title);
  add(svg, "text", { class: "title", x: box.right, y: height - 6, "text-anchor": "end" }, x.title);
  return { svg, box, sx, sy, width, height, clip: "url(#" + clip + ")" };
}

function line(parent, points, dash, extra = "") {
  const d = "M" + points.map(([x, y]) => x.toFixed(1) + " " + y.toFixed(1)).join("L");
  const node = add(parent, "path", { class: "path " + extra, d });
  if (dash && !extra.includes("thin")) node.setAttribute("stroke-dasharray", dash);
  return node;
}

const tip = document.getElementById("tip");
let tipShown = 0;

// rows: [label, value, run index or null]
function showTip(x, y, title, sub, rows) {
  tip.replaceChildren();
  html(tip, "b", { textContent: title });
  if (sub) html(tip, "div", { className: "sub", textContent: sub });
  const list = html(tip, "dl");
  for (const [label, value, run] of rows) {
    const term = html(list, "dt");
    if (run !== undefined && run !== null) key(term, run);
    term.append(label);
    html(list, "dd", { textContent: value });
  }
  tip.hidden = false;
  tipShown = performance.now();
  const { width, height } = tip.getBoundingClientRect();
  const right = x + 16 + width < innerWidth - 8 ? x + 16 : x - 16 - width;
  const below = y + 16 + height < innerHeight - 8 ? y + 16 : y - 16 - height;
  tip.style.transform = "translate(" + Math.max(8, Math.min(right, innerWidth - width - 8)) + "px," + Math.max(8, below) + "px)";
}

function hideTip() {
  tip.hidden = true;
}

function key(parent, run) {
  const svg = add(parent, "svg", { viewBox: "-8 -8 16 16", class: "run-" + run, "aria-hidden": "true" });
  mark(svg, DATA.runs[run].shape, 0, 0, 6);
}
