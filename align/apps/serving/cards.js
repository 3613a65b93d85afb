// Lists of items: one for each ranking, with weak matches folded away and a button for more.
import { clock, count, make, nameOf, pictureOf } from "./dom.js";

const LONG = 160; // characters from which a text takes two columns

function picture(item) {
  const image = make("img", { src: pictureOf(item), alt: nameOf(item), loading: "lazy", decoding: "async" });
  image.addEventListener("error", () =>
    image.replaceWith(make("span", { className: "gone", textContent: `${item.title} cannot be shown` })),
  );
  return image;
}

function card(item, place, { kinds, open, like, light }) {
  const code = item.modality === "code";
  const shown = [];
  if (item.picture) {
    const button = make("button", { type: "button", className: "open" }, picture(item));
    button.setAttribute("aria-label", `Enlarge ${nameOf(item)}`);
    button.addEventListener("click", open);
    shown.push(button);
  }
  if (item.text !== null) {
    const text = item.text + (item.truncated ? " …" : "");
    shown.push(make(code ? "pre" : "p", { className: "text", textContent: text }));
  }
  const named = item.caption ?? (item.text === null || item.picture || code ? item.title : null);
  const facts = [item.score === null ? null : `${place + 1} · ${item.score.toFixed(3)}`, kinds > 1 ? item.modality : null, item.second === null ? null : clock(item.second)];
  const more = make("button", { type: "button", className: "like", textContent: "More like this" });
  more.setAttribute("aria-label", `More like ${nameOf(item, 60)}`);
  more.addEventListener("click", () => like(item));
  const about = make(
    "div",
    { className: "about" },
    named === null ? null : make("span", { className: "title", title: item.title, textContent: named }),
    make("span", { className: "score", textContent: facts.filter(Boolean).join(" · ") }),
    more,
  );
  const element = make("li", { className: "hit", tabIndex: -1 }, ...shown, about);
  element.classList.toggle("wide", item.text !== null && (code || item.text.length > LONG));
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => light(place));
  for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, () => light(-1));
  return element;
}

// A section of items. `more` fetches the next ones; `add` puts them behind those that are there.
export class List {
  constructor(title, { named, id, calls, more }) {
    this.items = [];
    this.calls = calls;
    this.cards = [];
    this.best = make("ol", { className: "items", id: `${id}-items` });
    this.rest = make("ol", { className: "items" });
    this.summary = make("summary");
    this.weak = make("details", { className: "weak", hidden: true }, this.summary, this.rest);
    this.note = make("p", { className: "note", hidden: true });
    this.button = make("button", { type: "button", className: "more", textContent: "Show more", hidden: true });
    this.button.addEventListener("click", more);
    const heading = make("h2", { id: `${id}-title`, tabIndex: -1, className: named ? "" : "unseen", textContent: title });
    this.element = make("section", { className: "hits" }, heading, this.note, this.best, this.weak, this.button);
    this.element.setAttribute("aria-labelledby", heading.id);
  }

  add(items, { more, line = null }) {
    const first = this.items.length;
    this.items.push(...items);
    items.forEach((item, number) => {
      const place = first + number;
      const element = card(item, place, { ...this.calls, open: () => this.calls.open(this.items, place) });
      this.cards.push(element);
      (item.weak ? this.rest : this.best).append(element);
    });
    const weak = this.rest.children.length;
    // Beside clear matches they are seen, marked as weak; alone they are folded away.
    if (weak > 0 && this.weak.hidden) this.weak.open = this.best.children.length > 0;
    this.weak.hidden = weak === 0;
    this.summary.textContent = `${count(weak, "weak match", "weak matches")}: no better than what random letters find (${line?.toFixed(3)} or less)`;
    this.note.hidden = this.best.children.length > 0;
    this.note.textContent = weak
      ? "Nothing here matches clearly. Describe it in other words, or look at the weak matches."
      : "Nothing of this kind was found.";
    // Weak matches are opened before more of them are fetched.
    this.button.hidden = !more || (weak > 0 && !this.weak.open);
    this.weak.ontoggle = () => (this.button.hidden = !more || !this.weak.open);
    const code = this.items.length > 0 && this.items.every((item) => item.modality === "code");
    for (const list of [this.best, this.rest]) {
      list.classList.toggle("coding", code);
      list.classList.toggle("reading", !code && this.items.some((item) => item.text !== null));
    }
    return this.cards[first];
  }

  go(place) {
    if (this.items[place].weak) this.weak.open = true;
    this.cards[place].focus();
    this.cards[place].scrollIntoView({ block: "nearest" });
  }

  light(place) {
    this.cards.forEach((element, number) => element.classList.toggle("lit", number === place));
  }
}
