// Points joined by label, and what all plots of points share: names, reading under the pointer, the way to the settings.

const DATA = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set(); // places of labels
const labelOf = new Map(DATA.labels.flatMap((label, place) => label.runs.map((run) => [run, place])));

const visible = () => DATA.labels.map((label, place) => ({ label, place, index: label.runs[0] })).filter(({ place }) => !hidden.has(place));
const known = (value) => value !== null && value !== undefined;
const nothing = (host, text) => { host.replaceChildren(); html(host, "p", { className: "none", textContent: text }); };
const signed = (value) => (known(value) && value > 0 ? "+" : "") + fixed(value, 3);

function openSettings(run) {
  if (run === null) return; // a published setting that was not run
  const details = document.getElementById("settings-" + run);
  hideTip();
  const all = details.closest("details.all");
  if (all) all.open = true;
  details.open = true;
  details.scrollIntoView();
  details.querySelector("summary").focus({ preventScroll: true });
}

// The last point of a series is large, with bars of one standard deviation where it has several seeds (xs, ys); its seeds are small and
// pale, each joined to it by a thin line.
// series: [{ index, name, points: [{ x, y, title, sub, rows, run }], seeds }]; hollow: points of their own, as published, whose run
// is null where the setting was not run.
// notes draws what belongs to the plot itself, and returns the texts that names must keep clear of.
// An end beyond the axes stands at the edge as a triangle that points to where it is.
function scatter(host, height, x, y, series, notes = () => [], hollow = []) {
  const plot = frame(host, height, x, y);
  const inside = ({ x, y }) => plot.sx(x) >= plot.box.left - 1 && plot.sx(x) <= plot.box.right + 1 && plot.sy(y) >= plot.box.top - 1 && plot.sy(y) <= plot.box.bottom + 1;
  plot.inside = inside;
  const texts = notes(plot);
  const all = [];
  const put = (group, point, radius, kind, name = "", rank = 0) => {
    const far = !inside(point);
    const at = far ? atEdge(plot, point) : [plot.sx(point.x), plot.sy(point.y)];
    const last = kind.includes("end");
    if (point.xs && !kind.includes("way") && !far) bars(group, plot, point);
    const node = add(group, "g", {
      class: "point" + kind, tabindex: last || kind.includes("published") ? 0 : -1, role: point.run === null ? "img" : "link",
      "aria-label": [point.title, point.sub, ...point.rows.map((r) => r[0] + " " + r[1])].join(", "),
    });
    const shape = point.run === null ? "circle" : DATA.runs[point.run].shape;
    if (far) arrow(node, plot, at, kind.includes("seed") ? 4 : 6);
    else mark(node, shape, at[0], at[1], radius, kind.includes("published") ? "hollow" : "");
    node.addEventListener("focus", () => {
      const r = node.getBoundingClientRect();
      showTip(r.right, r.bottom, point.title, point.sub, point.rows);
    });
    node.addEventListener("blur", hideTip);
    all.push({ at, node, point, last, name, rank });
    return node;
  };
  const keys = (nodes) => nodes.forEach((node, k) => node.addEventListener("keydown", (event) => {
    const next = nodes[k + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] || 0)];
    if (next && next !== node) { event.preventDefault(); next.focus(); }
    if (event.key === "Escape") hideTip();
    if (event.key === "Enter") { event.preventDefault(); openSettings(all.find((p) => p.node === node).point.run); }
  }));
  const [front, rest] = [series.filter((s) => s.rank < 2), series.filter((s) => !(s.rank < 2))];
  for (const { index, name, rank = 0, points, seeds = [] } of [...rest, ...front]) {
    const group = add(plot.svg, "g", { class: "run-" + index, "data-run": index });
    const lines = add(group, "g", { "clip-path": plot.clip });
    line(lines, points.map((p) => [plot.sx(p.x), plot.sy(p.y)]), DATA.runs[index].dash, "way");
    for (const p of seeds) line(lines, [p, points.at(-1)].map(({ x, y }) => [plot.sx(x), plot.sy(y)]), null, "thin spoke");
    keys(seeds.map((p) => put(group, p, 3.2, " seed")));
    const shown = points.filter((p, k) => k === points.length - 1 || inside(p));
    keys(shown.map((p, k) => (k === shown.length - 1 ? put(group, p, 7 * DATA.runs[index].size, " end", name, rank) : put(group, p, 3.6, " way"))));
  }
  for (const point of hollow) {
    if (point.run === null) keys([put(add(plot.svg, "g", { class: "notrun", "data-run": "none" }), point, 5, " published", point.title)]);
    else keys([put(add(plot.svg, "g", { class: "run-" + point.run, "data-run": point.run }), point, 6 * DATA.runs[point.run].size, " published")]);
  }
  label(plot, series, all, texts);
  const nearest = (event) => {
    const r = plot.svg.getBoundingClientRect();
    const scale = plot.width / r.width;
    const [px, py] = [(event.clientX - r.left) * scale, (event.clientY - r.top) * scale];
    const distance = (p) => Math.hypot(p.at[0] - px, p.at[1] - py) - (p.last ? 5 : 0);
    const near = all.filter((p) => p.node.getClientRects().length).reduce((a, b) => (a === null || distance(b) < distance(a) ? b : a), null);
    return near && distance(near) < 26 ? near : null;
  };
  const show = (event, near) => {
    for (const p of all) p.node.classList.toggle("on", p === near);
    plot.svg.querySelectorAll("[data-run]").forEach((group) => group.classList.toggle("shown", near !== null && group.contains(near.node)));
    plot.svg.classList.toggle("over", near !== null);
    if (near) showTip(event.clientX, event.clientY, near.point.title, near.point.sub, near.point.rows);
    else hideTip();
  };
  let tapped = null; // a finger cannot hover: its first tap reads a mark, its second opens the settings
  plot.svg.addEventListener("pointermove", (event) => show(event, nearest(event)));
  plot.svg.addEventListener("pointerleave", () => { hideTip(); for (const p of all) p.node.classList.remove("on"); });
  plot.svg.addEventListener("click", (event) => {
    const near = nearest(event);
    if (near && near.point.run !== null && (event.pointerType !== "touch" || near === tapped)) openSettings(near.point.run);
    else show(event, near);
    tapped = near;
  });
  return plot;
}

function atEdge({ sx, sy, box }, { x, y }) {
  return [Math.max(box.left, Math.min(box.right, sx(x))), Math.max(box.top, Math.min(box.bottom, sy(y)))];
}

function arrow(parent, { box }, [x, y], radius) {
  const turn = x <= box.left ? -90 : x >= box.right ? 90 : y <= box.top ? 0 : 180;
  return add(parent, "path", { class: "mark far", d: SHAPES.triangle(radius), transform: "translate(" + x + " " + y + ") rotate(" + turn + ")" });
}

function bars(group, { sx, sy }, { x, y, xs, ys }) {
  const d = "M" + sx(xs[1]) + " " + sy(y) + "H" + sx(xs[2]) + "M" + sx(x) + " " + sy(ys[1]) + "V" + sy(ys[2]);
  add(group, "path", { class: "path bars", d });
}

// What lies beyond the axes, in words below the plot: [name, x, y].
function tellBeyond(host, far) {
  if (!far.length) return;
  const text = far.map(([name, x, y]) => name + " (" + fixed(x, 3) + ", " + fixed(y, 3) + ")").join("; ");
  html(host, "p", { className: "fine beyond", textContent: "At the edge, with their places: " + text + ". " + DATA.rule });
}

// Names beside end points and published settings that were not run, where there is room; a name that would touch another mark or name stays in the
// legend alone. Those of the lowest rank come first: the headline and plain LoRA, then the front; where there are many, no others have names.
function label(plot, series, all, texts) {
  const named = all.filter((p) => p.name && !(DATA.crowded && p.rank > 1)).sort((a, b) => a.rank - b.rank);
  const taken = all.map(({ at, last }) => [at[0] - (last ? 11 : 4), at[1] - (last ? 11 : 4), at[0] + (last ? 11 : 4), at[1] + (last ? 11 : 4)]);
  for (const { x, y, width, height } of texts.map((t) => t.getBBox())) taken.push([x - 4, y, x + width + 4, y + height]);
  const lines = series.flatMap(({ points }) => points.slice(1).flatMap((b, k) => {
    const [ax, ay, bx, by] = [plot.sx(points[k].x), plot.sy(points[k].y), plot.sx(b.x), plot.sy(b.y)];
    const parts = Math.ceil(Math.hypot(bx - ax, by - ay) / 6);
    return Array.from({ length: parts }, (_, i) => [ax + ((bx - ax) * i) / parts, ay + ((by - ay) * i) / parts]).map(([x, y]) => [x - 1, y - 1, x + 1, y + 1]);
  }));
  const free = (box, things) => !things.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1]);
  named.forEach(({ at: [x, y], name, point, rank }) => {
    const text = add(plot.svg, "text", { class: "name", "data-run": point.run === null ? "none" : point.run }, name);
    const wide = text.getComputedTextLength();
    const places = [[x + 15, y + 4], [x - 15 - wide, y + 4], [x - wide / 2, y - 17], [x - wide / 2, y + 27], [x - wide - 8, y - 15], [x - wide - 8, y + 25]];
    // Of what must be named, if need be further off, with a line to its mark.
    const afar = rank > 0 ? [] : [34, 56, 80, 110].flatMap((d) => [[x - wide - d, y - d / 2], [x - wide / 2, y - d], [x - wide - d, y + d / 2 + 8], [x - wide / 2, y + d + 8], [x + d, y - d / 2], [x + d, y + d / 2 + 8]]);
    const around = ([left, base]) => [left - 2, base - 12, left + wide + 2, base + 4];
    const fits = [...places, ...afar].filter((p) => {
      const box = around(p);
      return box[0] > plot.box.left && box[2] < plot.width && box[1] > plot.box.top - 8 && box[3] < plot.box.bottom && free(box, taken);
    });
    const place = fits.find((p) => free(around(p), lines)) || fits[0];
    if (!place) return text.remove();
    if (afar.includes(place)) add(plot.svg, "path", { class: "leader", "data-run": point.run, d: "M" + x + " " + y + "L" + Math.max(place[0], Math.min(place[0] + wide, x)) + " " + (place[1] < y ? place[1] + 3 : place[1] - 10) });
    text.setAttribute("x", place[0]);
    text.setAttribute("y", place[1]);
    taken.push(around(place));
  });
}
