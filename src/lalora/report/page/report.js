// Puts the page together: its plots at the width there is, again when that changes, and its legends.

function drawAll() {
  drawers.forEach((drawer) => drawer());
  document.querySelectorAll(".picture [data-run]").forEach((node) => node.classList.toggle("off", hidden.has(labelOf.get(Number(node.dataset.run)))));
}

function light(runs) {
  document.body.classList.toggle("some-on", runs.length > 0);
  document.querySelectorAll("[data-run]").forEach((node) => node.classList.toggle("lit", runs.includes(Number(node.dataset.run))));
}

// A name a setting, or where there are too many to be read a name a method.
function entries() {
  const every = DATA.labels.map((label, place) => ({ name: label.label, places: [place], index: label.runs[0], runs: label.runs }));
  if (every.length <= 12) return every;
  const found = new Map();
  DATA.labels.forEach(({ family, runs }, place) => {
    const of = found.get(family) || found.set(family, { places: [], runs: [] }).get(family);
    of.places.push(place);
    of.runs.push(...runs);
  });
  return [...found].map(([family, { places, runs }]) => {
    if (places.length === 1) return every[places[0]];
    const index = runs.reduce((a, b) => (DATA.runs[b].size > DATA.runs[a].size ? b : a));
    return { name: family + ", " + places.length + " settings", places, index, runs };
  });
}

function drawLegends() {
  document.querySelectorAll("[data-legend]").forEach((host) => entries().forEach(({ name, places, index, runs }) => {
    const gone = () => places.every((place) => hidden.has(place));
    const button = html(host, "button", { type: "button", className: "run-" + index });
    button.setAttribute("aria-pressed", "true");
    button.dataset.legendRun = index;
    const svg = add(button, "svg", { viewBox: "0 0 30 14", "aria-hidden": "true" });
    line(svg, [[0, 7], [30, 7]], DATA.runs[index].dash);
    mark(svg, DATA.runs[index].shape, 15, 7, 5);
    button.append(name);
    button.addEventListener("pointerenter", () => light(gone() ? [] : runs));
    button.addEventListener("pointerleave", () => light([]));
    button.addEventListener("click", () => {
      const show = gone();
      for (const place of places) hidden[show ? "delete" : "add"](place);
      document.querySelectorAll("[data-legend-run='" + index + "']").forEach((b) => b.setAttribute("aria-pressed", String(show)));
      light([]);
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
