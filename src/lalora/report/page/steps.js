// Values over steps, one line a label, all read at once under the pointer; points are [step, mean, low, high].
// series: [{ index, band, line, thin, marks }]
function overSteps(host, title, series, describe, height = 230, log = false) {
  const flat = series.flatMap((s) => [...s.line, ...s.marks]);
  if (!flat.length) return nothing(host, "Not measured in these runs.");
  const values = flat.concat(series.flatMap((s) => [...s.thin, ...s.band.flatMap(([step, , low, high]) => [[step, low], [step, high]])]));
  const steps = values.map((p) => p[0]);
  const y = { ...axis(values.map((p) => p[1]), 0.06, log), title, zero: true };
  const plot = frame(host, height, { ...axis(steps, 0), title: "optimizer step →" }, y);
  const put = (points) => points.map(([a, b]) => [plot.sx(a), plot.sy(b)]);
  for (const s of series) {
    const group = add(plot.svg, "g", { class: "run-" + s.index, "data-run": s.index });
    if (s.band.length) add(group, "path", { class: "band", d: "M" + [...s.band.map((p) => [p[0], p[3]]), ...s.band.map((p) => [p[0], p[2]]).reverse()].map(([a, b]) => plot.sx(a).toFixed(1) + " " + plot.sy(b).toFixed(1)).join("L") + "Z" });
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

// A mean ± one standard deviation, where there is one.
function ranged([, mean, low, high], digits, unit = "") {
  return fixed(mean, digits) + unit + (low < high ? " ± " + fixed(high - mean, digits) : "");
}
