// The plots of this page, drawn from the JSON above at the width there is, and again when that changes.

const DATA = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set();
const Y = {
  source_kl: "KL(base ‖ model) on source, nats per token",
  source_rise: "rise of source loss, nats per token",
  heldout_kl: "KL(base ‖ model) on held-out, nats per token",
};

const visible = () => DATA.runs.map((run, index) => ({ run, index })).filter(({ index }) => !hidden.has(index));
const known = (value) => value !== null && value !== undefined;
const nothing = (host, text) => { host.replaceChildren(); html(host, "p", { className: "none", textContent: text }); };
const signed = (value) => (known(value) && value > 0 ? "+" : "") + fixed(value, 3);

// Points joined by run; the last of each run is large. series: [{ index, points: [{ x, y, title, sub, rows }] }]
// notes draws what belongs to the plot itself, and returns the texts that names must keep clear of.
function scatter(host, height, x, y, series, notes = () => []) {
  const plot = frame(host, height, x, y);
  const texts = notes(plot);
  const all = [];
  for (const { index, points } of series) {
    const run = DATA.runs[index];
    const group = add(plot.svg, "g", { class: "run-" + index, "data-run": index });
    const at = points.map((p) => [plot.sx(p.x), plot.sy(p.y)]);
    line(group, at, run.dash);
    const nodes = points.map((point, k) => {
      const last = k === points.length - 1;
      const node = add(group, "g", {
        class: "point" + (last ? " end" : ""), tabindex: last ? 0 : -1, role: "img",
        "aria-label": [point.title, point.sub, ...point.rows.map((r) => r[0] + " " + r[1])].join(", "),
      });
      mark(node, run.shape, at[k][0], at[k][1], last ? 7 * run.size : 3.6);
      node.addEventListener("focus", () => {
        const r = node.getBoundingClientRect();
        showTip(r.right, r.bottom, point.title, point.sub, point.rows);
      });
      node.addEventListener("blur", hideTip);
      node.addEventListener("keydown", (event) => {
        const next = nodes[k + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] || 0)];
        if (next && next !== node) { event.preventDefault(); next.focus(); }
        if (event.key === "Escape") hideTip();
      });
      all.push({ at: at[k], node, point, last });
      return node;
    });
  }
  label(plot, series, all, texts);
  plot.svg.addEventListener("pointermove", (event) => {
    const r = plot.svg.getBoundingClientRect();
    const scale = plot.width / r.width;
    const [px, py] = [(event.clientX - r.left) * scale, (event.clientY - r.top) * scale];
    const distance = (p) => Math.hypot(p.at[0] - px, p.at[1] - py) - (p.last ? 5 : 0);
    const near = all.reduce((a, b) => (a === null || distance(b) < distance(a) ? b : a), null);
    for (const p of all) p.node.classList.toggle("on", p === near && distance(p) < 26);
    if (near && distance(near) < 26) showTip(event.clientX, event.clientY, near.point.title, near.point.sub, near.point.rows);
    else hideTip();
  });
  plot.svg.addEventListener("pointerleave", () => { hideTip(); for (const p of all) p.node.classList.remove("on"); });
  return plot;
}

// Names beside end points where there is room; a name that would touch another mark or name stays in the legend alone.
function label(plot, series, all, texts) {
  const ends = all.filter((p) => p.last);
  const taken = all.map(({ at, last }) => [at[0] - (last ? 11 : 4), at[1] - (last ? 11 : 4), at[0] + (last ? 11 : 4), at[1] + (last ? 11 : 4)]);
  for (const { x, y, width, height } of texts.map((t) => t.getBBox())) taken.push([x - 4, y, x + width + 4, y + height]);
  const lines = series.flatMap(({ points }) => points.slice(1).flatMap((b, k) => {
    const [ax, ay, bx, by] = [plot.sx(points[k].x), plot.sy(points[k].y), plot.sx(b.x), plot.sy(b.y)];
    const parts = Math.ceil(Math.hypot(bx - ax, by - ay) / 6);
    return Array.from({ length: parts }, (_, i) => [ax + ((bx - ax) * i) / parts, ay + ((by - ay) * i) / parts]).map(([x, y]) => [x - 1, y - 1, x + 1, y + 1]);
  }));
  const free = (box, things) => !things.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1]);
  ends.forEach(({ at: [x, y] }, k) => {
    const run = DATA.runs[series[k].index];
    const text = add(plot.svg, "text", { class: "name", "data-run": series[k].index }, run.label);
    const wide = text.getComputedTextLength();
    const places = [[x + 15, y + 4], [x - 15 - wide, y + 4], [x - wide / 2, y - 17], [x - wide / 2, y + 27], [x - wide - 8, y - 15], [x - wide - 8, y + 25]];
    const around = ([left, base]) => [left - 2, base - 12, left + wide + 2, base + 4];
    const fits = places.filter((p) => {
      const box = around(p);
      return box[0] > plot.box.left && box[2] < plot.width && box[1] > plot.box.top - 8 && box[3] < plot.box.bottom && free(box, taken);
    });
    const place = fits.find((p) => free(around(p), lines)) || fits[0];
    if (!place) return text.remove();
    text.setAttribute("x", place[0]);
    text.setAttribute("y", place[1]);
    taken.push(around(place));
  });
}

function drawTradeoff() {
  const host = document.getElementById("tradeoff");
  const field = document.querySelector("input[name=y]:checked").value;
  const series = visible().map(({ run, index }) => ({
    index,
    points: run.points.filter((p) => known(p.gain) && known(p[field])).map((p) => ({
      x: p.gain, y: p[field], title: run.label, sub: run.name + " · step " + p.step,
      rows: [
        ["target loss", fixed(p.target_loss, 3)], ["fall against base", fixed(p.gain, 3)], ["source loss", fixed(p.source_loss, 3)],
        ["rise against base", signed(p.source_rise)], ["KL source", fixed(p.source_kl, 3)], ["KL held-out", fixed(p.heldout_kl, 3)],
      ],
    })),
  })).filter((s) => s.points.length);
  if (!series.length) return nothing(host, "Nothing was measured for this plot.");
  // What each adapter gives when it is scaled down after training: a thin line through its end.
  const scaled = series.map((s) => ({ index: s.index, points: DATA.runs[s.index].scaled.filter((p) => known(p.gain) && known(p[field])).map((p) => ({ x: p.gain, y: p[field] })) })).filter((s) => s.points.length);
  const flat = [...series, ...scaled].flatMap((s) => s.points);
  const roomy = host.clientWidth > 460;
  const x = { domain: extent([0, ...flat.map((p) => p.x)], 0.06), title: (roomy ? "learning: " : "") + "fall of the target loss, nats per token →", zero: true };
  const y = { domain: extent([0, ...flat.map((p) => p.y)], 0.08), title: "↑ " + (roomy ? "forgetting: " : "") + Y[field], zero: true };
  const height = Math.round(Math.max(330, Math.min(520, host.clientWidth * 0.62)));
  const plot = scatter(host, height, x, y, series, ({ svg, sx, sy, box }) => [
    add(svg, "text", { class: "name", x: sx(0) + 10, y: sy(0) + 17 > box.bottom ? sy(0) - 12 : sy(0) + 17 }, "base model"),
    add(svg, "text", { x: box.right - 6, y: box.bottom - 8, "text-anchor": "end", "font-style": "italic" }, "better ↘"),
  ]);
  for (const { index, points } of scaled) {
    const end = series.find((s) => s.index === index).points.at(-1);
    line(add(plot.svg, "g", { class: "run-" + index, "data-run": index }), [...points, end].sort((a, b) => a.x - b.x).map((p) => [plot.sx(p.x), plot.sy(p.y)]), null, "thin scaled");
  }
  add(plot.svg, "path", { class: "basemark", d: "M" + (plot.sx(0) - 8) + " " + plot.sy(0) + "h16m-8 -8v16" });
}

// Values over steps, one line a run, all read at once under the pointer. series: [{ index, line, thin, marks }]
function overSteps(host, title, series, describe, height = 230) {
  const flat = series.flatMap((s) => [...s.line, ...s.marks]);
  if (!flat.length) return nothing(host, "Not measured in these runs.");
  const values = flat.concat(series.flatMap((s) => s.thin));
  const steps = values.map((p) => p[0]);
  const y = { domain: extent(values.map((p) => p[1]), 0.06), title, zero: true };
  const plot = frame(host, height, { domain: [Math.min(...steps), Math.max(...steps, Math.min(...steps) + 1)], title: "optimizer step →" }, y);
  const put = (points) => points.map(([a, b]) => [plot.sx(a), plot.sy(b)]);
  for (const s of series) {
    const group = add(plot.svg, "g", { class: "run-" + s.index, "data-run": s.index });
    if (s.thin.length) line(group, put(s.thin), null, "thin");
    if (s.line.length) line(group, put(s.line), DATA.runs[s.index].dash);
    for (const [cx, cy] of put(s.marks)) mark(group, DATA.runs[s.index].shape, cx, cy, 4, s.hollow ? "hollow" : "");
  }
  const stops = [...new Set(series.flatMap((s) => (s.marks.length ? s.marks : s.line).map((p) => p[0])))].sort((a, b) => a - b);
  const cross = add(plot.svg, "line", { class: "cross", y1: plot.box.top, y2: plot.box.bottom, visibility: "hidden" });
  const leave = () => { cross.setAttribute("visibility", "hidden"); hideTip(); };
  let stop = stops.length - 1;
  const read = (clientX, clientY) => {
    const at = plot.sx(stops[stop]);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.setAttribute("visibility", "visible");
    showTip(clientX, clientY, "step " + Math.round(stops[stop]), "", series.flatMap((s) => describe(s, stops[stop])));
  };
  plot.svg.classList.add("walk");
  plot.svg.setAttribute("tabindex", 0);
  plot.svg.setAttribute("aria-label", title + "; arrow keys read the values");
  plot.svg.addEventListener("pointermove", (event) => {
    const r = plot.svg.getBoundingClientRect();
    const at = ((event.clientX - r.left) * plot.width) / r.width;
    stop = stops.reduce((a, value, k) => (Math.abs(plot.sx(value) - at) < Math.abs(plot.sx(stops[a]) - at) ? k : a), 0);
    read(event.clientX, event.clientY);
  });
  plot.svg.addEventListener("pointerleave", leave);
  plot.svg.addEventListener("blur", leave);
  plot.svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    stop = Math.max(0, Math.min(stops.length - 1, stop + move));
    const r = plot.svg.getBoundingClientRect();
    read(r.left + (plot.sx(stops[stop]) * r.width) / plot.width, r.top + 40);
  });
}

function nearest(points, step) {
  return points.reduce((a, p) => (a === null || Math.abs(p[0] - step) < Math.abs(a[0] - step) ? p : a), null);
}

function drawPanels() {
  const host = document.getElementById("panels");
  DATA.panels.forEach((panel, k) => {
    const series = visible().map(({ run, index }) => ({
      index,
      line: panel.noisy ? run.smooth[panel.key] : run.curves[panel.key],
      thin: panel.noisy ? run.curves[panel.key] : [],
      marks: panel.marked ? run.curves[panel.key] : [],
    })).filter((s) => s.line.length);
    overSteps(host.children[k].querySelector(".plot"), panel.axis, series, (s, step) => {
      const found = nearest(s.line, step);
      return found ? [[DATA.runs[s.index].label, fixed(found[1], 3), s.index]] : [];
    });
  });
}

function drawForecast() {
  const section = document.getElementById("forecast");
  section.hidden = !DATA.runs.some((run) => run.forecasts.length);
  if (section.hidden) return;
  const runs = visible().filter(({ run }) => run.forecasts.length);
  const scatterHost = document.getElementById("calibration");
  const stepsHost = document.getElementById("foretold");
  if (!runs.length) return [scatterHost, stepsHost].forEach((host) => nothing(host, "The runs with a forecast are hidden."));
  const series = runs.map(({ run, index }) => ({
    index,
    points: run.forecasts.map(([step, forecast, measured]) => ({
      x: forecast, y: measured, title: run.label, sub: run.name + " · step " + step,
      rows: [["foretold", fixed(forecast, 4)], ["measured", fixed(measured, 4)]],
    })),
  }));
  const flat = series.flatMap((s) => s.points);
  const [xs, ys] = [extent([0, ...flat.map((p) => p.x)], 0.06), extent([0, ...flat.map((p) => p.y)], 0.08)];
  const [low, high] = [Math.max(xs[0], ys[0]), Math.min(xs[1], ys[1])];
  scatter(scatterHost, 300, { domain: xs, title: "forecast ½ΔᵀΛΔ, nats per token →", zero: true },
    { domain: ys, title: "↑ measured KL, source, nats per token", zero: true }, series, ({ svg, sx, sy }) => {
      add(svg, "line", { class: "exact", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high) });
      return [];
    });
  overSteps(stepsHost, "line: forecast, marks: measured KL, nats per token", runs.map(({ run, index }) => ({
    index, thin: [], hollow: true,
    line: run.forecasts.map(([step, forecast]) => [step, forecast]),
    marks: run.forecasts.map(([step, , measured]) => [step, measured]),
  })), (s, step) => [
    [DATA.runs[s.index].label + ", foretold", fixed(nearest(s.line, step)[1], 4), s.index],
    ["measured", fixed(nearest(s.marks, step)[1], 4), s.index],
  ], 300);
}

function drawChanges(host) {
  const table = DATA.changes[host.dataset.changes];
  const cells = table.changes.flatMap((row, g) => row.map((value, j) => ({ value, g, index: table.runs[j] })))
    .filter((c) => c.value > 0 && !hidden.has(c.index));
  if (!cells.length) return nothing(host, "No weight moved.");
  host.replaceChildren();
  const width = Math.max(220, host.clientWidth);
  const [row, top, left] = [64, 12, 82];
  const bottom = top + row * table.groups.length;
  const logs = cells.map((c) => Math.log10(c.value));
  const [low, high] = [Math.floor(Math.min(...logs) - 0.05), Math.ceil(Math.max(...logs) + 0.05)];
  const sx = (v) => left + ((v - low) / (high - low)) * (width - left - 22);
  const svg = add(host, "svg", { viewBox: "0 0 " + width + " " + (bottom + 44), width, height: bottom + 44 });
  const every = Math.ceil((high - low) / Math.max(1, Math.floor((width - left) / 56)));
  for (let power = low; power <= high; power += every) {
    add(svg, "line", { class: "grid", x1: sx(power), x2: sx(power), y1: top, y2: bottom });
    const text = add(svg, "text", { x: sx(power), y: bottom + 18, "text-anchor": "middle" }, "10");
    add(text, "tspan", { dy: -5, "font-size": "9px" }, String(power).replace("-", "−"));
  }
  add(svg, "text", { class: "title", x: width - 4, y: bottom + 38, "text-anchor": "end" }, "mean |Δ| of a weight, log scale →");
  table.groups.forEach((group, g) => {
    const middle = top + row * (g + 0.5);
    add(svg, "text", { class: "name", x: 0, y: middle + 4 }, group);
    add(svg, "line", { class: "grid", x1: left, x2: width - 22, y1: middle, y2: middle });
    const here = cells.filter((c) => c.g === g);
    here.forEach((c, k) => {
      const node = add(svg, "g", { class: "run-" + c.index, "data-run": c.index });
      const at = middle + (k - (here.length - 1) / 2) * Math.min(14, (row - 16) / Math.max(1, here.length - 1));
      mark(node, DATA.runs[c.index].shape, sx(Math.log10(c.value)), at, 5.5);
      node.addEventListener("pointermove", (event) =>
        showTip(event.clientX, event.clientY, DATA.runs[c.index].label, group + " weights", [["mean |Δ|", c.value.toExponential(2).replace("e-", "e−")]]));
      node.addEventListener("pointerleave", hideTip);
    });
  });
}

function drawAll() {
  drawTradeoff();
  drawPanels();
  drawForecast();
  document.querySelectorAll("[data-changes]").forEach(drawChanges);
}

function light(index) {
  document.body.classList.toggle("some-on", index !== null);
  document.querySelectorAll("[data-run]").forEach((node) => node.classList.toggle("lit", node.dataset.run === String(index)));
}

function drawLegends() {
  document.querySelectorAll("[data-legend]").forEach((host) => DATA.runs.forEach((run, index) => {
    const button = html(host, "button", { type: "button", className: "run-" + index });
    button.setAttribute("aria-pressed", "true");
    button.dataset.legendRun = index;
    const svg = add(button, "svg", { viewBox: "0 0 30 14", "aria-hidden": "true" });
    line(svg, [[0, 7], [30, 7]], run.dash);
    mark(svg, run.shape, 15, 7, 5);
    button.append(run.label);
    button.addEventListener("pointerenter", () => light(hidden.has(index) ? null : index));
    button.addEventListener("pointerleave", () => light(null));
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      document.querySelectorAll("[data-legend-run='" + index + "']").forEach((b) => b.setAttribute("aria-pressed", String(!hidden.has(index))));
      light(null);
      drawAll();
    });
  }));
}

document.querySelectorAll("svg[data-key]").forEach((svg) => {
  svg.setAttribute("viewBox", "-8 -8 16 16");
  mark(svg, DATA.runs[svg.dataset.key].shape, 0, 0, 6);
});
for (const panel of DATA.panels) {
  const figure = html(document.getElementById("panels"), "figure", { className: "card" });
  html(figure, "figcaption", { textContent: panel.title });
  html(figure, "div", { className: "plot" });
}
document.querySelectorAll("input[name=y]").forEach((input) => {
  input.disabled = !DATA.runs.some((run) => run.points.some((p) => known(p[input.value])));
  input.addEventListener("change", drawTradeoff);
});
drawLegends();
drawAll();
let drawn = innerWidth;
addEventListener("resize", () => requestAnimationFrame(() => {
  if (innerWidth === drawn) return;
  drawn = innerWidth;
  hideTip();
  drawAll();
}));
addEventListener("scroll", hideTip, { passive: true });
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
