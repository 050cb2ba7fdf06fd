// Puts the page together: its plots at the width there is, again when that changes, and its legends.

const drawAll = () => drawers.forEach((drawer) => drawer());

function light(label) {
  document.body.classList.toggle("some-on", label !== null);
  document.querySelectorAll("[data-run]").forEach((node) => node.classList.toggle("lit", label !== null && label.runs.includes(Number(node.dataset.run))));
}

function drawLegends() {
  document.querySelectorAll("[data-legend]").forEach((host) => DATA.labels.forEach((label, place) => {
    const index = label.runs[0];
    const button = html(host, "button", { type: "button", className: "run-" + index });
    button.setAttribute("aria-pressed", "true");
    button.dataset.legendRun = index;
    const svg = add(button, "svg", { viewBox: "0 0 30 14", "aria-hidden": "true" });
    line(svg, [[0, 7], [30, 7]], DATA.runs[index].dash);
    mark(svg, DATA.runs[index].shape, 15, 7, 5);
    button.append(label.label);
    button.addEventListener("pointerenter", () => light(hidden.has(place) ? null : label));
    button.addEventListener("pointerleave", () => light(null));
    button.addEventListener("click", () => {
      if (!hidden.delete(place)) hidden.add(place);
      document.querySelectorAll("[data-legend-run='" + index + "']").forEach((b) => b.setAttribute("aria-pressed", String(!hidden.has(place))));
      light(null);
      drawAll();
    });
  }));
}

document.querySelectorAll("svg[data-key]").forEach((svg) => {
  svg.setAttribute("viewBox", "-8 -8 16 16");
  mark(svg, DATA.runs[svg.dataset.key].shape, 0, 0, 6);
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
// A mark that is focused scrolls into view first, and the scroll event follows.
addEventListener("scroll", () => { if (performance.now() - tipShown > 200) hideTip(); }, { passive: true });
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
