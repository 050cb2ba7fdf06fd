// The trade-off: a line a label, from the base model to the mean over its seeds, in one of several views.

const TITLES = {
  source_kl: "KL(base ‖ model) on source, nats per token",
  source_rise: "rise of source loss, nats per token",
  heldout_kl: "KL(base ‖ model) on held-out, nats per token",
};

// A measure of a run or, of the seeds of a label, as their mean and one standard deviation to both sides: [mean, low, high].
const span = (value) => (Array.isArray(value) ? value : known(value) ? [value, value, value] : null);
const whole = (value, write) => {
  const s = span(value);
  return s === null ? "–" : write(s[0]) + (s[1] < s[2] ? " ± " + write(s[2] - s[0]) : "");
};
const nats = (value) => fixed(value, 3);
const percent = (value) => fixed(100 * value, 1) + "%";

function numbers(at, settings) {
  const accuracies = ["source_accuracy", "target_accuracy"].filter((name) => known(at[name]));
  return [
    ["target loss", whole(at.target_loss, nats)], ["fall against base", whole(at.gain, nats)], ["source loss", whole(at.source_loss, nats)],
    ["rise against base", whole(at.source_rise, signed)], ["KL source", whole(at.source_kl, nats)], ["KL held-out", whole(at.heldout_kl, nats)],
    ...accuracies.map((name) => [name.replace("_", " "), whole(at[name], percent)]),
    ...Object.entries(settings),
  ];
}

function drawTradeoff() {
  const host = document.getElementById("tradeoff");
  const name = document.querySelector("input[name=y]:checked").value;
  const view = DATA.views[name];
  const scale = view.up ? 100 : 1;
  const place = (at) => ({ x: scale * span(at[view.x])[0], y: scale * span(at[view.y])[0] });
  const measured = (at) => known(at[view.x]) && known(at[view.y]);
  const bars = (at) => ({ xs: span(at[view.x]).map((v) => scale * v), ys: span(at[view.y]).map((v) => scale * v) });
  const series = visible().map(({ label, place: number, index }) => {
    const several = label.runs.length > 1;
    const sub = several ? "mean of " + label.runs.length + " seeds (± one standard deviation)" : DATA.runs[index].name;
    return {
      index, name: label.label, rank: rank(label, number, view),
      points: label.path.filter(measured).map((at) => ({
        ...place(at), ...(several ? bars(at) : {}), title: label.label, sub: sub + " · step " + at.step, rows: numbers(at, label.settings), run: index,
      })),
      seeds: !several ? [] : label.runs.map((run) => ({ run, at: DATA.runs[run].points.at(-1) })).filter(({ at }) => at && measured(at)).map(({ run, at }) => ({
        ...place(at), title: DATA.runs[run].label, sub: DATA.runs[run].name + " · step " + at.step, rows: numbers(at, label.settings), run,
      })),
    };
  }).filter((s) => s.points.length);
  if (!series.length) return nothing(host, "Nothing was measured for this plot.");
  const published = view.up ? publishedMarks(series) : [];
  // What each adapter gives when it is scaled down after training: a thin line through its end.
  const scaled = series.map((s) => ({ index: s.index, end: s.points.at(-1), points: DATA.labels[labelOf.get(s.index)].scaled.filter(measured).map(place) })).filter((s) => s.points.length);
  const softened = series.map((s) => ({ index: s.index, points: DATA.labels[labelOf.get(s.index)].softened.filter(measured).map(place) })).filter((s) => s.points.length);
  // What every rival of softening makes of it, from its end on.
  const after = series.flatMap((s) => Object.entries(DATA.labels[labelOf.get(s.index)].after).map(([name, versions]) => ({
    index: s.index, rival: DATA.rivals[name], name: s.name, end: s.points.at(-1), points: versions.filter(measured).map((at) => ({ ...place(at), at })),
  }))).filter((s) => s.points.length);
  const flat = [...series.flatMap((s) => [...s.points, ...s.seeds]), ...[...scaled, ...softened, ...after].flatMap((s) => s.points), ...published];
  const base = measured(DATA.base) ? [place(DATA.base)] : [];
  const origin = view.up ? base : [{ x: 0, y: 0 }];
  // Ends set the axes; where their limits are fenced, what is further out stands at the edge.
  const limits = (k) => (view.fences[k] || [-Infinity, Infinity]).map((v) => scale * v);
  const within = (p) => ["x", "y"].every((of, k) => p[of] >= limits(k)[0] && p[of] <= limits(k)[1]);
  const roomy = host.clientWidth > 460;
  const [acrossTitle, upTitle] = view.up
    ? ["target accuracy, % →", "source accuracy, mean over sources, %"]
    : [(roomy ? "learning: " : "") + "fall of the target loss, nats per token →", (roomy ? "forgetting: " : "") + TITLES[name]];
  const shown = DATA.crowded ? [...series.flatMap((s) => [s.points.at(-1), ...s.seeds]), ...[...softened, ...after].flatMap((s) => s.points), ...published] : flat;
  const reach = (k, room) => {
    const of = "xy"[k];
    const [low, high] = limits(k);
    const values = [...origin, ...shown].flatMap((p) => [p[of], ...(p[of + "s"] || [])]).filter((v) => v >= low && v <= high);
    return axis(values.length ? values : shown.map((p) => p[of]), room);
  };
  const height = Math.round(Math.max(330, Math.min(520, host.clientWidth * 0.62)));
  const plot = scatter(host, height, { ...reach(0, 0.06), title: acrossTitle, zero: !view.up }, { ...reach(1, 0.08), title: "↑ " + upTitle, zero: !view.up }, series, ({ svg, sx, sy, box }) => [
    ...origin.filter(within).map(({ x, y }) => {
      const right = sx(x) > (box.left + box.right) / 2;
      const below = !view.up && sy(y) + 17 <= box.bottom;
      return add(svg, "text", { class: "name", x: sx(x) + (right ? -10 : 10), y: sy(y) + (below ? 17 : -12), "text-anchor": right ? "end" : "start" }, "base model");
    }),
    add(svg, "text", { x: box.right - 6, y: view.up ? box.top - 6 : box.bottom - 8, "text-anchor": "end", "font-style": "italic" }, view.up ? "better ↗" : "better ↘"),
  ], published);
  for (const { index, points, end } of scaled) {
    line(add(plot.svg, "g", { class: "run-" + index, "data-run": index, "clip-path": plot.clip }), [...points, end].sort((a, b) => a.x - b.x).map((p) => [plot.sx(p.x), plot.sy(p.y)]), null, "thin scaled way");
  }
  for (const { index, points } of softened) {
    const group = add(plot.svg, "g", { class: "run-" + index, "data-run": index, "clip-path": plot.clip });
    line(group, points.map((p) => [plot.sx(p.x), plot.sy(p.y)]), null, "softened");
    for (const p of points) add(group, "circle", { class: "mark", cx: plot.sx(p.x), cy: plot.sy(p.y), r: 3 });
  }
  for (const { index, rival, name, end, points } of after) {
    const group = add(add(plot.svg, "g", { class: "run-" + index, "data-run": index, "clip-path": plot.clip }), "g", { class: "rival-" + rival.place });
    line(group, [end, ...points].map((p) => [plot.sx(p.x), plot.sy(p.y)]), null, "after");
    for (const { x, y, at } of points) {
      add(mark(group, rival.shape, plot.sx(x), plot.sy(y), 3), "title", {}, name + ", " + rival.label + " " + rival.knob + " = " + at.knob);
    }
  }
  for (const front of view.fronts) drawFront(plot, front, series);
  if (DATA.crowded) drawFront(plot, view.pareto, series, "pareto");
  const ends = series.map((s) => ({ ...s.points.at(-1), name: s.name }));
  tellBeyond(host, [...origin.map((p) => ({ ...p, name: "base model" })), ...ends].filter((p) => !plot.inside(p)).map(({ name, x, y }) => [name, x, y]));
  for (const { x, y } of origin.filter(within)) add(plot.svg, "path", { class: "basemark", d: "M" + (plot.sx(x) - 8) + " " + plot.sy(y) + "h16m-8 -8v16" });
}

// Which names come first: the headline's and plain LoRA's, then those that no other setting beats.
function rank(label, place, view) {
  return label.leads ? 0 : view.pareto.includes(place) ? 1 : 2;
}

// A step line through the settings that no other one beats, of a method or of all.
function drawFront(plot, places, series, extra = "") {
  const shown = places.map((place) => series.find((s) => labelOf.get(s.index) === place)).filter(Boolean);
  if (shown.length < 2) return;
  const ends = shown.map((s) => s.points.at(-1));
  const index = shown.at(-1).index;
  const corners = ends.flatMap((p, k) => (k ? [[ends[k - 1].x, p.y], [p.x, p.y]] : [[p.x, p.y]]));
  const group = extra ? { class: "all" } : { class: "run-" + index, "data-run": index };
  line(add(plot.svg, "g", { ...group, "clip-path": plot.clip }), corners.map(([x, y]) => [plot.sx(x), plot.sy(y)]), null, "thin front " + extra);
}

function publishedMarks(series) {
  return DATA.published.flatMap((one) => {
    const run = DATA.labels.some((label) => label.name === one.run) ? series.find(({ index }) => DATA.labels[labelOf.get(index)].name === one.run) : { index: null };
    if (!run) return []; // its label is hidden
    const bar = (value, spread) => [value, value - (spread || 0), value + (spread || 0)].map((v) => 100 * v);
    const written = (value, spread) => percent(value) + (known(spread) ? " ± " + percent(spread) : "");
    return [{
      run: run.index, x: 100 * one.target_accuracy, y: 100 * one.source_accuracy,
      xs: bar(one.target_accuracy, one.target_spread), ys: bar(one.source_accuracy, one.source_spread), title: one.run,
      sub: "as published" + (run.index === null ? ", not run here" : "") + (known(one.target_spread) || known(one.source_spread) ? " (± one standard deviation)" : ""),
      rows: [["source accuracy", written(one.source_accuracy, one.source_spread)], ["target accuracy", written(one.target_accuracy, one.target_spread)]],
    }];
  });
}

document.querySelectorAll("input[name=y]").forEach((input) => {
  input.disabled = !DATA.runs.some((run) => run.points.some((p) => known(p[DATA.views[input.value].y])));
  input.addEventListener("change", drawTradeoff);
});
drawers.push(drawTradeoff);
