// Elements and words. Whatever comes from the index goes into the page as text, never as markup.
const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

export const count = (n, one, several = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : several}`;

export const pictureOf = (item, size = "small") => {
  const params = new URLSearchParams(size === "small" ? {} : { size });
  if (item.second !== null && item.second !== undefined) params.set("second", item.second);
  return `/api/items/${encodeURIComponent(item.id)}/thumbnail${params.size ? `?${params}` : ""}`;
};

// A second of a video as players show it: 0:07.
export const clock = (second) => `${Math.floor(second / 60)}:${String(Math.floor(second % 60)).padStart(2, "0")}`;

export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function svgElement(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export function time(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms).toLocaleString("en")} ms`;
}

// What an item is called in a sentence: what it says of itself, or its name.
export const nameOf = (item, most = 80) => (item.caption ?? item.text ?? item.title).slice(0, most);
