// Two conveniences; without them the page says the same.
"use strict";

// A click on the head of a column sorts by it, a second one the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  const body = table.tBodies[0];
  const key = (row, at) => {
    const cell = row.cells[at];
    const text = cell.dataset.value ?? cell.textContent;
    return heads[at].classList.contains("number") ? (text === "" ? NaN : Number(text)) : text;
  };
  const order = (a, b) =>
    typeof a === "string" ? a.localeCompare(b) : (Number.isNaN(a) - Number.isNaN(b)) || a - b;
  heads.forEach((head, at) => {
    const sort = () => {
      // Numbers begin with the largest, words with A.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((a, b) => sign * order(key(a, at), key(b, at)));
      body.append(...rows);
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}

// Pointing at a chart shows the values nearest to the pointer.
const svgElement = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
for (const figure of document.querySelectorAll("figure.chart")) {
  const lines = JSON.parse(figure.dataset.points).filter((line) => line.points.length > 0);
  const plot = figure.querySelector(".plot");
  const svg = plot.querySelector("svg");
  const tip = plot.querySelector(".tip");
  const { width, height } = svg.viewBox.baseVal;
  const pointer = svgElement("g", { class: "pointer", visibility: "hidden" });
  svg.append(pointer);
  const hide = () => { tip.hidden = true; pointer.setAttribute("visibility", "hidden"); };
  const nearest = (points, x) =>
    points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    if (lines.length === 0) return;
    const found = lines.map((line) => ({ ...line, point: nearest(line.points, x) }));
    const at = nearest(found.map((line) => line.point), x);
    pointer.replaceChildren(
      svgElement("line", { x1: at[0], x2: at[0], y1: 0, y2: height - 56 }),
      ...found.map((line) => {
        const dot = svgElement("circle", { cx: line.point[0], cy: line.point[1], r: 9 });
        dot.style.fill = `var(--line-${line.colour})`;
        return dot;
      }),
    );
    pointer.setAttribute("visibility", "visible");
    const row = (text, colour) => {
      const element = document.createElement("div");
      element.textContent = text;
      if (colour !== undefined) {
        element.className = "key";
        element.style.setProperty("--c", `var(--line-${colour})`);
      }
      return element;
    };
    tip.replaceChildren(
      row(`${figure.dataset.x} ${at[2]}`),
      ...found.map((line) => row(`${line.name} ${line.point[3]}`, line.colour)),
    );
    tip.hidden = false;
    const left = (at[0] / width) * box.width;
    const beside = left > box.width / 2 ? left - tip.offsetWidth - 12 : left + 12;
    tip.style.left = `${beside}px`;
  });
}
