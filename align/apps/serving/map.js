// A picture of the query and its hits on their two main axes.
import { at, nameOf, svgElement } from "./dom.js";

export function light(place) {
  document.querySelectorAll(".dot").forEach((dot, number) => dot.classList.toggle("lit", number === place));
}

export function plot(map, hits, { go, lit }) {
  at("map").hidden = !map;
  if (!map) return;
  const x = (point) => (150 + 132 * point[0]).toFixed(1);
  const y = (point) => (150 - 132 * point[1]).toFixed(1);
  const svg = svgElement("svg", { viewBox: "0 0 300 300", role: "group", "aria-label": "Query and hits in two dimensions" });
  map.hits.forEach((point, place) => {
    const name = `${place + 1}. ${nameOf(hits[place])}`;
    const dot = svgElement("circle", { class: "dot", cx: x(point), cy: y(point), r: 6.5, tabindex: place ? -1 : 0, role: "button", "aria-label": `Show hit ${name}` });
    dot.classList.toggle("faint", hits[place].weak);
    const title = svgElement("title", {});
    title.textContent = name;
    dot.append(title);
    dot.addEventListener("click", () => go(place));
    dot.addEventListener("keydown", (event) => step(event, place, () => go(place)));
    for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => lit(place));
    for (const event of ["mouseleave", "blur"]) dot.addEventListener(event, () => lit(-1));
    svg.append(dot);
  });
  const [cx, cy] = [Number(x(map.query)), Number(y(map.query))];
  svg.append(svgElement("path", { class: "star", d: `M${cx - 7} ${cy}h14M${cx} ${cy - 7}v14` }));
  const above = cy < 24 ? 22 : -12;
  const label = svgElement("text", { x: Math.min(Math.max(cx, 20), 280), y: cy + above, "text-anchor": "middle" });
  label.textContent = "query";
  svg.append(label);
  at("plot").replaceChildren(svg);
  const share = Math.round(100 * map.explained);
  at("map-note").textContent =
    `The query (cross) and its first hits on their two main axes, which hold ${share}% of the spread.`;
}

// One stop for the tab key; arrows go from dot to dot.
function step(event, place, go) {
  const dots = [...document.querySelectorAll(".dot")];
  const to = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") go();
  else if (to === undefined) return;
  else dots.at(to % dots.length).focus();
  event.preventDefault();
}
