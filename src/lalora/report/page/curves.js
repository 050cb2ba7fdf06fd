// Over the steps: a plot a quantity.
for (const panel of DATA.panels) {
  const figure = html(document.getElementById("panels"), "figure", { className: "card" });
  html(figure, "figcaption", { textContent: panel.title });
  html(figure, "div", { className: "plot" });
}

function drawCurves() {
  const host = document.getElementById("panels");
  DATA.panels.forEach((panel, k) => {
    const series = visible().map(({ label, place, index }) => {
      const several = label.runs.length > 1;
      const points = panel.curves[place];
      const shown = panel.noisy ? panel.smooth[place] : points;
      return { index, label, line: shown, band: several ? shown : [], thin: panel.noisy && !several ? points : [], marks: panel.marked ? points : [] };
    }).filter((s) => s.line.length);
    overSteps(host.children[k].querySelector(".plot"), panel.axis, series, (s, step) => {
      const found = nearest(s.line, step);
      return [[s.label.label, panel.share ? ranged(found, 1, "%") : ranged(found, 3), s.index]];
    });
  });
}
drawers.push(drawCurves);
