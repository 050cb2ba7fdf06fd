// The predicted KL against the measured one, and both step by step.
function drawPredictions() {
  const { runs: byRun, predicted, measured } = DATA.predictions;
  const labels = visible().filter(({ place }) => predicted[place].length);
  const scatterHost = document.getElementById("predicted");
  const stepsHost = document.getElementById("stepwise");
  if (!labels.length) return [scatterHost, stepsHost].forEach((host) => nothing(host, "The runs with a prediction are hidden."));
  const runs = labels.flatMap(({ label }) => label.runs).filter((index) => byRun[index].length);
  const series = runs.map((index) => ({
    index, name: DATA.runs[index].label, rank: rank(DATA.labels[labelOf.get(index)], labelOf.get(index), DATA.views.source_kl),
    points: byRun[index].map(([step, x, y]) => ({
      x, y, run: index, title: DATA.runs[index].label, sub: DATA.runs[index].name + " · step " + step,
      rows: [["predicted", fixed(x, 4)], ["measured", fixed(y, 4)]],
    })),
  }));
  const flat = series.flatMap((s) => s.points);
  // A logarithm has no zero: an axis that starts there is linear.
  const spread = (values) => (spansDecade(values) ? axis(values, 0.08, true) : axis([0, ...values], 0.08));
  const [xs, ys] = [spread(flat.map((p) => p.x)), spread(flat.map((p) => p.y))];
  const scale = (axis) => (axis.log ? ", log scale" : "");
  scatter(scatterHost, 300, { ...xs, title: "predicted: ½ΔᵀΛΔ, nats per token" + scale(xs) + " →", zero: true },
    { ...ys, title: "↑ measured KL, source, nats per token" + scale(ys), zero: true }, series, (plot) => exactLine(plot, xs, ys));
  overSteps(stepsHost, "line: predicted, marks: measured, nats per token", labels.map(({ label, place, index }) => ({
    index, label, thin: [], hollow: true, line: predicted[place], band: label.runs.length > 1 ? predicted[place] : [], marks: measured[place],
  })), (s, step) => [
    [s.label.label + ", predicted", ranged(nearest(s.line, step), 4), s.index],
    ["measured", ranged(nearest(s.marks, step), 4), s.index],
  ], 300, true);
}
// Where predicted and measured agree: a line as far as the axes show it, else a word that they do not.
function exactLine({ svg, sx, sy, box }, xs, ys) {
  const [low, high] = [Math.max(xs.domain[0], ys.domain[0]), Math.min(xs.domain[1], ys.domain[1])];
  if (low >= high) {
    const below = ys.domain[0] >= xs.domain[1];
    return [add(svg, "text", { x: below ? box.right - 6 : box.left + 6, y: below ? box.bottom - 8 : box.top + 12, "text-anchor": below ? "end" : "start", "font-style": "italic" }, "exact predictions lie " + (below ? "below ↘" : "above ↖"))];
  }
  const steps = Array.from({ length: 41 }, (_, k) => (xs.log && low > 0 ? low * (high / low) ** (k / 40) : low + ((high - low) * k) / 40));
  add(svg, "path", { class: "path exact", d: "M" + steps.map((v) => sx(v).toFixed(1) + " " + sy(v).toFixed(1)).join("L") });
  return [];
}
drawers.push(drawPredictions);
