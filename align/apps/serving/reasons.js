// Why an item was found: the terms of its score, and its words, which light up where they go.
import { make } from "./dom.js";

const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`;

// Elements that say it; `show` is given the address of a heat map, or null for the plain picture.
export function reasons({ score, terms, words, no_words }, show) {
  const sum = terms.map(({ name, value }) => `${name} ${signed(value)}`).join(", ");
  const said = [make("p", { textContent: `Score ${score.toFixed(3)}: ${sum}.` })];
  if (!words.length) return [...said, make("p", { className: "note", textContent: no_words ?? "" })];
  const most = Math.max(...words.map(({ value }) => Math.abs(value)), 1e-9);
  const buttons = words.map(({ word, value, best, heat }) => {
    const button = make("button", { type: "button", className: "word" }, make("span", { textContent: word }), make("small", { textContent: signed(value) }));
    button.title = `goes best with ${best}`;
    button.style.setProperty("--share", Math.abs(value) / most);
    for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => show(heat));
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => show(null));
    return button;
  });
  const where = words.some(({ heat }) => heat !== null) ? "Point at one to see where: red goes with it, blue against it." : "";
  return [...said, make("p", { textContent: `What each word adds to the match. ${where}` }), make("div", { className: "words" }, ...buttons)];
}
