// One item, large: opened from its card, left by Escape; arrows go to its neighbours.
import { at, count, make, nameOf, pictureOf } from "./dom.js";
import { reasons } from "./reasons.js";

let items = [];
let place = 0;
let ask = null; // gives a promise of why an item was found, or is null where that cannot be said

export function view(list, number, why) {
  items = list;
  ask = why;
  show(number);
  if (!at("viewer").open) at("viewer").showModal();
}

function show(number) {
  place = (number + items.length) % items.length;
  const item = items[place];
  const content = [];
  if (item.picture) {
    const picture = make("img", { alt: nameOf(item, 300), src: pictureOf(item, "large") });
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
  at("viewer-why").hidden = true;
  at("viewer-explain").hidden = ask === null || item.score === null;
  at("viewer-place").textContent = `${place + 1} of ${count(items.length, "shown", "shown")}`;
  for (const id of ["viewer-before", "viewer-after"]) at(id).disabled = items.length < 2;
}

async function explain() {
  const item = items[place];
  const picture = at("viewer-content").querySelector("img");
  const plain = picture?.src;
  let said;
  try {
    said = reasons(await ask(item), (heat) => picture && (picture.src = heat ?? plain));
  } catch (error) {
    said = [make("p", { className: "note", textContent: error.message })];
  }
  if (item !== items[place]) return; // another one is shown meanwhile
  // Heat maps are smaller: they take the place of the picture, and nothing jumps.
  if (picture) Object.assign(picture.style, { width: `${picture.clientWidth}px`, height: `${picture.clientHeight}px` });
  at("viewer-why").replaceChildren(...said);
  at("viewer-why").hidden = false;
}

export function prepare(like) {
  at("viewer-explain").addEventListener("click", explain);
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
