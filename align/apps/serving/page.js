"use strict";
// Whatever comes from the index goes into the page as text, never as markup.
const WAIT = 180; // milliseconds after the last key before a search starts
const HITS = 24;
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
const pictureOf = (id) => `/api/items/${encodeURIComponent(id)}/thumbnail`;

let about = null;
let current = null; // {text}, {item} or {file}
let running = null;
let waiting = 0;

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function svgElement(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function options() {
  const params = new URLSearchParams({ k: HITS, view: document.forms.search.view.value });
  const boxes = [...document.querySelectorAll("#kind-boxes input")];
  const chosen = boxes.filter((box) => box.checked);
  if (chosen.length < boxes.length) for (const box of chosen) params.append("modality", box.value);
  if (about.budgets.length && params.get("view") === "aligned") {
    params.set("budget", about.budgets[at("budget").value]);
  }
  return params;
}

async function search() {
  clearTimeout(waiting);
  running?.abort();
  if (!current) return;
  const request = (running = new AbortController());
  const params = options();
  at("search").setAttribute("aria-busy", "true");
  try {
    let response;
    if (current.file) {
      const headers = { "Content-Type": current.file.type };
      response = fetch(`/api/search?${params}`, { method: "POST", headers, body: current.file, signal: request.signal });
    } else {
      params.set(current.item ? "item" : "q", current.item?.id ?? current.text);
      response = fetch(`/api/search?${params}`, { signal: request.signal });
    }
    const answer = await answerOf(await response);
    // The body of an older answer may come after a newer question.
    if (request === running) show(answer);
  } catch (error) {
    if (error.name === "AbortError" || request !== running) return;
    showError(error.message);
  } finally {
    if (request === running) at("search").removeAttribute("aria-busy");
  }
}

function showError(message) {
  at("error").textContent = message;
  at("status").textContent = "";
}

function show(answer) {
  const { hits } = answer;
  at("error").textContent = "";
  at("results").replaceChildren(...hits.map(card));
  const code = hits.length > 0 && hits.every((hit) => hit.modality === "code");
  at("results").classList.toggle("coding", code);
  at("results").classList.toggle("reading", !code && hits.some((hit) => hit.text !== null));
  at("empty").hidden = hits.length > 0;
  at("empty").textContent = "Nothing of this kind was found.";
  const encoded = answer.encode_ms ? `, ${time(answer.encode_ms)} to encode the query` : "";
  at("status").textContent =
    `${count(hits.length, "hit")} of ${count(about.items, "item")} in ${time(answer.search_ms)}${encoded}`;
  at("budget").disabled = !answer.budget;
  at("budget-cost").textContent = answer.budget
    ? `${time(answer.budget.took_ms)}; ${Math.round(100 * answer.budget.quality)}% of the ten best with all ` +
      `vectors, which take ${time(answer.budget.full_ms)}`
    : "";
  plot(answer);
}

function time(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms).toLocaleString("en")} ms`;
}

function card(hit, place) {
  const element = make("li", { className: "hit", tabIndex: -1 });
  const isCode = hit.modality === "code";
  if (hit.picture) {
    const picture = make("img", { src: pictureOf(hit.id), alt: hit.text ?? `Picture ${hit.title}`, loading: "lazy", decoding: "async" });
    picture.addEventListener("error", () =>
      picture.replaceWith(make("p", { className: "gone", textContent: `${hit.title} cannot be shown` })),
    );
    element.append(picture);
  }
  if (hit.text !== null) {
    const text = hit.text + (hit.truncated ? " \u2026" : "");
    element.append(make(isCode ? "pre" : "p", { className: "text", textContent: text }));
    element.classList.toggle("wide", isCode || hit.text.length > 160);
  }
  const like = make("button", { type: "button", textContent: "More like this" });
  like.setAttribute("aria-label", `More like ${hit.text?.slice(0, 60) ?? hit.title}`);
  like.addEventListener("click", () => ask({ item: hit }));
  const named = hit.text === null || hit.picture || isCode;
  const kind = Object.keys(about.modalities).length > 1 && hit.modality ? ` \u00b7 ${hit.modality}` : "";
  element.append(
    make(
      "div",
      { className: "about" },
      ...(named ? [make("span", { className: "title", title: hit.title, textContent: hit.title })] : []),
      make("span", { className: "score", textContent: `${place + 1} \u00b7 ${hit.score.toFixed(3)}${kind}` }),
      like,
    ),
  );
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => light(place));
  for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, () => light(-1));
  return element;
}

function light(place) {
  for (const all of [at("results").children, document.querySelectorAll(".dot")]) {
    [...all].forEach((one, number) => one.classList.toggle("lit", number === place));
  }
}

function plot(answer) {
  at("map").hidden = !answer.map;
  if (!answer.map) return;
  const x = (point) => (150 + 132 * point[0]).toFixed(1);
  const y = (point) => (150 - 132 * point[1]).toFixed(1);
  const svg = svgElement("svg", { viewBox: "0 0 300 300", role: "group", "aria-label": "Query and hits in two dimensions" });
  answer.map.hits.forEach((point, place) => {
    const hit = answer.hits[place];
    const name = `${place + 1}. ${hit.text?.slice(0, 80) ?? hit.title}`;
    const dot = svgElement("circle", { class: "dot", cx: x(point), cy: y(point), r: 6.5, tabindex: place ? -1 : 0, role: "button", "aria-label": `Show hit ${name}` });
    const title = svgElement("title", {});
    title.textContent = name;
    dot.append(title);
    const go = () => {
      at("results").children[place].focus();
      at("results").children[place].scrollIntoView({ block: "nearest" });
    };
    dot.addEventListener("click", go);
    dot.addEventListener("keydown", (event) => step(event, place, go));
    for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => light(place));
    for (const event of ["mouseleave", "blur"]) dot.addEventListener(event, () => light(-1));
    svg.append(dot);
  });
  const [cx, cy] = [Number(x(answer.map.query)), Number(y(answer.map.query))];
  svg.append(svgElement("path", { class: "star", d: `M${cx - 7} ${cy}h14M${cx} ${cy - 7}v14` }));
  const above = cy < 24 ? 22 : -12;
  const label = svgElement("text", { x: Math.min(Math.max(cx, 20), 280), y: cy + above, "text-anchor": "middle" });
  label.textContent = "query";
  svg.append(label);
  at("plot").replaceChildren(svg);
  const share = Math.round(100 * answer.map.explained);
  at("map-note").textContent =
    `The query (cross) and its hits on their two main axes, which hold ${share}% of the spread.`;
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

function ask(question) {
  if (current?.url) URL.revokeObjectURL(current.url);
  current = question;
  const { item, file } = question;
  at("question").hidden = !(item || file);
  if (item || file) {
    at("query").value = "";
    question.url = file && URL.createObjectURL(file);
    at("question-picture").hidden = !(file || item.picture);
    if (file || item.picture) at("question-picture").src = question.url ?? pictureOf(item.id);
    const name = file?.name ?? item.text?.slice(0, 120) ?? item.title;
    at("question-text").textContent = item ? `Items like \u201c${name}\u201d` : `Items for the picture ${name}`;
    scrollTo({ top: 0 });
    at("clear").focus({ preventScroll: true });
  }
  search();
}

function clear() {
  running?.abort();
  running = current = null;
  at("question").hidden = at("map").hidden = true;
  at("results").replaceChildren();
  at("status").textContent = at("error").textContent = at("budget-cost").textContent = "";
  at("empty").hidden = false;
  at("empty").textContent = "Type a few words to begin. Results come as you type.";
}

function typed() {
  clearTimeout(waiting);
  const text = at("query").value.trim();
  if (text) ask({ text });
  else clear();
}

function begin(answer) {
  about = answer;
  const kinds = Object.entries(about.modalities);
  const facts = kinds.map(([name, n]) => count(n, { image: "picture", text: "text", code: "piece of code" }[name] ?? name));
  at("facts").textContent = kinds.length ? facts.join(", ").replace("piece of codes", "pieces of code") : count(about.items, "item");
  at("query").disabled = at("go").disabled = !about.queries.includes("text");
  at("query").maxLength = about.most_characters;
  at("by-picture").hidden = !about.queries.includes("image");
  at("view-raw").disabled = about.no_raw !== null;
  at("no-raw").hidden = about.no_raw === null;
  at("no-raw").textContent = about.no_raw ?? "";
  at("kinds").hidden = kinds.length < 2;
  if (kinds.length > 1) {
    at("kind-boxes").replaceChildren(
      ...kinds.map(([name, n]) =>
        make("label", {}, make("input", { type: "checkbox", value: name, checked: true }), `${name} (${n.toLocaleString("en")})`),
      ),
    );
  }
  at("budget-set").hidden = !about.budgets.length;
  at("budget").max = Math.max(0, about.budgets.length - 1);
  at("budget").value = at("budget").max;
  showBudget();
  at("query").focus();
}

function showBudget() {
  const vectors = about.budgets[at("budget").value];
  at("budget-value").textContent = vectors ?? "";
  if (vectors) at("budget").setAttribute("aria-valuetext", count(vectors, "vector"));
}

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  typed();
});
at("query").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(typed, WAIT);
});
at("view").addEventListener("change", search);
at("kinds").addEventListener("change", (event) => {
  const boxes = [...document.querySelectorAll("#kind-boxes input")];
  // At least one kind is shown.
  if (!boxes.some((box) => box.checked)) event.target.checked = true;
  search();
});
at("budget").addEventListener("input", () => {
  showBudget();
  clearTimeout(waiting);
  waiting = setTimeout(search, WAIT / 2);
});
at("picture").addEventListener("change", () => {
  const [file] = at("picture").files;
  at("picture").value = "";
  if (!file) return;
  if (file.size > about.most_bytes) showError(`A picture may have ${about.most_bytes.toLocaleString("en")} bytes; this one has ${file.size.toLocaleString("en")}.`);
  else ask({ file });
});
at("clear").addEventListener("click", () => {
  clear();
  at("query").focus();
});

fetch("/api/about").then(answerOf).then(begin).catch((error) => showError(error.message));
