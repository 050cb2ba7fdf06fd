// The predicted KL against the measured one, and both step by step.
function drawPredictions() {
  const { runs: byRun, predicted, measured } = DATA.predictions;
  const labels = visible().filter(({ place }) => predicted[place].length);
  const scatterHost = document.getElementById("predicted");
  const stepsHost = document.getElementById("stepwise");
  if (!labels.length) return [scatterHost, stepsHost].forEach((host) => nothing(host, "The runs with a prediction are hidden."));
  const runs = labels.flatMap(({ label }) => label.runs).filter((index) => byRun[index].length);
  const series = runs.map((index) => ({
    index, name: DATA.runs[index].label,
    points: byRun[index].map(([step, x, y]) => ({
      x, y, run: index, title: DATA.runs[index].label, sub: DATA.runs[index].name + " · step " + step,
      rows: [["predicted", fixed(x, 4)], ["measured", fixed(y, 4)]],
    })),
  }));
  const flat = series.flatMap((s) => s.points);
  const [xs, ys] = [extent([0, ...flat.map((p) => p.x)], 0.06), extent([0, ...flat.map((p) => p.y)], 0.08)];
  const [low, high] = [Math.max(xs[0], ys[0]), Math.min(xs[1], ys[1])];
  scatter(scatterHost, 300, { domain: xs, title: "predicted: ½ΔᵀΛΔ, nats per token →", zero: true },
    { domain: ys, title: "↑ measured KL, source, nats per token", zero: true }, series, ({ svg, sx, sy }) => {
      add(svg, "line", { class: "exact", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high) });
      return [];
    });
  overSteps(stepsHost, "line: predicted, marks: measured, nats per token", labels.map(({ label, place, index }) => ({
    index, label, thin: [], hollow: true, line: predicted[place], band: label.runs.length > 1 ? predicted[place] : [], marks: measured[place],
  })), (s, step) => [
    [s.label.label + ", predicted", ranged(nearest(s.line, step), 4), s.index],
    ["measured", ranged(nearest(s.marks, step), 4), s.index],
  ], 300);
}
drawers.push(drawPredictions);
