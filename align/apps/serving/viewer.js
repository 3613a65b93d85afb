// One item, large: opened from its card, left by Escape; arrows go to its neighbours.
import { at, count, make, nameOf, pictureOf } from "./dom.js";

let items = [];
let place = 0;

export function view(list, number) {
  items = list;
  show(number);
  if (!at("viewer").open) at("viewer").showModal();
}

function show(number) {
  place = (number + items.length) % items.length;
  const item = items[place];
  const content = [];
  if (item.picture) {
    const picture = make("img", { alt: nameOf(item, 300), src: pictureOf(item.id, "large") });
    picture.addEventListener("error", () => picture.replaceWith(make("p", { className: "gone", textContent: `${item.title} cannot be shown` })));
    content.push(picture);
  }
  if (item.text !== null) {
    const text = item.text + (item.truncated ? " …" : "");
    content.push(make(item.modality === "code" ? "pre" : "p", { className: "text", textContent: text }));
  }
  at("viewer-content").replaceChildren(...content);
  at("viewer-title").textContent = nameOf(item, 300);
  const facts = [item.id !== nameOf(item, 300) ? item.id : null, item.title !== item.id ? item.title : null, item.modality];
  if (item.score !== null) facts.push(`score ${item.score.toFixed(3)}`);
  at("viewer-facts").textContent = facts.filter(Boolean).join(" · ");
  at("viewer-place").textContent = `${place + 1} of ${count(items.length, "shown", "shown")}`;
  for (const id of ["viewer-before", "viewer-after"]) at(id).disabled = items.length < 2;
}

export function prepare(like) {
  at("viewer-close").addEventListener("click", () => at("viewer").close());
  at("viewer-before").addEventListener("click", () => show(place - 1));
  at("viewer-after").addEventListener("click", () => show(place + 1));
  at("viewer-like").addEventListener("click", () => {
    at("viewer").close();
    like(items[place]);
  });
  at("viewer").addEventListener("click", (event) => {
    if (event.target === at("viewer")) at("viewer").close(); // beside it
  });
  at("viewer").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    show(place + step);
    event.preventDefault();
  });
}
