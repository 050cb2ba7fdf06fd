// How far the weights of each group moved, a mark a run.
function drawChanges(host) {
  const table = DATA.changes[host.dataset.changes];
  const cells = table.changes.flatMap((row, g) => row.map((value, j) => ({ value, g, index: table.runs[j] })))
    .filter((c) => c.value > 0 && !hidden.has(labelOf.get(c.index)));
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
drawers.push(() => document.querySelectorAll("[data-changes]").forEach(drawChanges));
