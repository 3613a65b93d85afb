// The page: from a question to a request, and from an answer to lists of hits.
import { fromAddress, toAddress } from "./address.js";
import { List } from "./cards.js";
import { at, count, make, nameOf, pictureOf, time } from "./dom.js";
import { light, plot } from "./map.js";
import { prepare, view } from "./viewer.js";

const WAIT = 180; // milliseconds after the last key before a search starts
const HITS = 24; // of one request
const POLL = 2000; // milliseconds between looks at the costs of budgets
const VIEWS = { aligned: "Aligned", raw: "Raw" };

let about = null;
let state = { text: null, item: null, file: null, view: "aligned", modalities: [], budget: null };
let running = null; // aborts the requests of the question that is shown or awaited
let waiting = 0;
let typing = false; // whether the entry of the history is one that is still being typed
const files = []; // pictures that were searched with in this visit; an entry of the history has its place
const urls = [];
let costs = [];

async function answerOf(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is align serve still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function ask(viewOf, start, signal) {
  const params = new URLSearchParams({ k: HITS, view: viewOf });
  if (start) params.set("start", start);
  for (const name of state.modalities) params.append("modality", name);
  if (state.budget !== null && viewOf === "aligned") params.set("budget", state.budget);
  if (state.text !== null) params.set("q", state.text);
  if (state.file !== null) {
    const file = files[state.file];
    return answerOf(fetch(`/api/search?${params}`, { method: "POST", headers: { "Content-Type": file.type }, body: file, signal }));
  }
  if (state.item !== null) params.set("item", state.item);
  return answerOf(fetch(`/api/search?${params}`, { signal }));
}

// A picture or item that is searched with; a text beside it says what should be different.
const example = () => state.item !== null || state.file !== null;
const asked = () => state.text !== null || example();

// Requests of an older question are cut off, and their answers are not shown even if they come.
async function during(work) {
  clearTimeout(waiting);
  running?.abort();
  const request = (running = new AbortController());
  at("answer").setAttribute("aria-busy", "true");
  try {
    await work(request.signal, () => request === running);
  } catch (error) {
    if (error.name !== "AbortError" && request === running) showError(error.message);
  } finally {
    if (request === running) at("answer").removeAttribute("aria-busy");
  }
}

function refresh() {
  showQuestion();
  document.title = `${asked() ? `${at("question-text").textContent || state.text} - ` : ""}${about.name}`;
  at("examples").hidden = asked() || !about.examples.length;
  return during(asked() ? search : showSample);
}

async function search(signal, current) {
  const composed = example() && state.text !== null; // has no raw vector
  const views = composed ? ["aligned"] : state.view === "both" ? ["aligned", "raw"] : [state.view];
  const answers = await Promise.all(views.map((each) => ask(each, 0, signal)));
  if (!current()) return;
  clearAnswer();
  at("lists").classList.toggle("two", views.length > 1);
  const lists = answers.map((answer) => listOf(answer, views.length > 1));
  at("lists").replaceChildren(...lists.map((list) => list.element));
  const { hits, line, item } = answers[0];
  if (item) showQuestion(item);
  const strong = hits.filter((hit) => !hit.weak).length;
  const first = `${count(hits.length, "hit")} of ${count(about.items, "item")} in ${time(answers[0].search_ms)}`;
  const encoded = answers[0].encode_ms ? `, ${time(answers[0].encode_ms)} to encode the query` : "";
  const weak = line === null || strong === hits.length ? "" : `, ${strong ? hits.length - strong : "all"} of them weak`;
  at("status").textContent = first + weak + encoded;
  const lit = (place) => (lists[0].light(place), light(place));
  plot(views.length > 1 || !strong ? null : answers[0].map, hits, { go: (place) => lists[0].go(place), lit });
}

function listOf(answer, named) {
  const title = named ? VIEWS[answer.view] : "Results";
  const id = named ? `results-${answer.view}` : "results";
  const list = newList(title, { named, id, more: () => next(list, answer.view), why: whyOf(answer.view) });
  list.add(answer.hits, answer);
  return list;
}

// How to ask why an item was found; only the ranking of texts by one vector can be explained.
function whyOf(viewOf) {
  const { text } = state;
  if (text === null || example() || viewOf !== "aligned" || about.budgets.length) return null;
  return (item) => answerOf(fetch(`/api/explanation?${new URLSearchParams({ q: text, item: item.id })}`));
}

function newList(title, { named, id, more, why = null }) {
  const calls = {
    kinds: Object.keys(about.modalities).length,
    open: (items, place) => view(items, place, why),
    like,
    light: (place) => (list.light(place), light(place)),
  };
  const list = new List(title, { named, id, more, calls });
  return list;
}

async function next(list, viewOf) {
  const { signal } = running; // a new question ends it
  list.button.disabled = true;
  try {
    const answer = await ask(viewOf, list.items.length, signal);
    if (signal.aborted) return;
    list.add(answer.hits, answer)?.focus({ preventScroll: true });
    at("status").textContent = `${count(list.items.length, "hit")} of ${count(about.items, "item")} shown`;
  } catch (error) {
    if (error.name === "AbortError") return;
    list.note.hidden = false;
    list.note.textContent = error.message;
  } finally {
    list.button.disabled = false;
  }
}

async function showSample(signal, current) {
  const { items } = await answerOf(fetch(`/api/sample?k=${HITS}`, { signal }));
  if (!current()) return;
  clearAnswer();
  at("lists").classList.remove("two");
  const all = items.length === about.items;
  const title = all ? "All items" : `${count(items.length, "item")} of ${about.items.toLocaleString("en")}`;
  const list = newList(title, { named: true, id: "sample", more: null });
  list.add(items, { more: false });
  at("lists").replaceChildren(list.element);
}

function clearAnswer() {
  at("lists").replaceChildren();
  at("map").hidden = true;
  at("status").textContent = "";
  at("error").hidden = true;
  at("error-text").textContent = "";
}

// The reason stands where the hits were: they belong to another question.
function showError(message) {
  clearAnswer();
  at("error").hidden = false;
  at("error-text").textContent = message;
}

function showQuestion(item = null) {
  const file = state.file === null ? null : files[state.file];
  at("question").hidden = state.item === null && !file;
  showPlaceholder();
  at("question-text").textContent = "";
  if (at("question").hidden) return;
  const source = file ? urls[state.file] : item?.picture ? pictureOf(item) : "";
  at("question-picture").hidden = !source;
  if (source) at("question-picture").src = source;
  const like = file ? `Items for the picture ${file.name}` : `Items like “${item ? nameOf(item, 120) : state.item}”`;
  at("question-text").textContent = state.text === null ? like : `${like}, but “${state.text}”`;
  document.title = `${at("question-text").textContent} - ${about.name}`;
}

// A change of the question or of an option: into the address, then asked.
function change(changes, { replace = false, written = false } = {}) {
  state = { ...state, ...changes };
  // What is being typed is left alone: a space at its end is the start of a further word.
  if (!written) at("query").value = state.text ?? "";
  if (!replace) typing = false;
  toAddress(state, { replace });
  showOptions();
  return refresh();
}

function like(item) {
  change({ text: null, item: item.id, file: null });
  scrollTo({ top: 0 });
  at("clear").focus({ preventScroll: true });
}

function typed() {
  clearTimeout(waiting);
  const text = at("query").value.trim() || null;
  if (text !== null && text === state.text && at("error").hidden) return;
  // Letters of one query make one entry of the history.
  const going = typing && text !== null;
  typing = text !== null;
  const beside = about.composed && example(); // the text says how hits should differ from it
  change(beside ? { text } : { text, item: null, file: null }, { replace: going, written: true });
  typing = text !== null;
}

function searchWith(file) {
  if (!file || !about.queries.includes("image")) return;
  if (file.size > about.most_bytes) {
    showError(`A picture may have ${about.most_bytes.toLocaleString("en")} bytes; this one has ${file.size.toLocaleString("en")}. Make it smaller first.`);
    return;
  }
  files.push(file);
  urls.push(URL.createObjectURL(file));
  change({ text: null, item: null, file: files.length - 1 });
  at("clear").focus({ preventScroll: true });
}

function showPlaceholder() {
  const beside = about.composed && example() ? "But different in this: …" : "Describe what you are looking for";
  at("query").placeholder = about.queries.includes("text") ? beside : "Search with a picture";
}

function showOptions() {
  document.forms.search.view.value = state.view;
  for (const box of document.querySelectorAll("#kind-boxes input")) {
    box.checked = !state.modalities.length || state.modalities.includes(box.value);
  }
  if (!about.budgets.length) return;
  const place = state.budget === null ? about.budgets.length - 1 : about.budgets.indexOf(state.budget);
  at("budget").value = place;
  at("budget").disabled = state.view === "raw";
  showBudget();
}

function showBudget() {
  const vectors = about.budgets[at("budget").value];
  at("budget-value").textContent = vectors;
  at("budget").setAttribute("aria-valuetext", count(vectors, "vector"));
  const [cost, full] = [costs.find((each) => each.vectors === vectors), costs.at(-1)];
  const mean = cost && `(mean over ${count(costs.queries, "item")} as queries)`;
  if (!cost) at("budget-cost").textContent = "is being compared with all vectors";
  else if (cost === full) at("budget-cost").textContent = `all vectors: ${time(cost.took_ms)} a search ${mean}`;
  else {
    at("budget-cost").textContent =
      `finds ${Math.round(100 * cost.agreement)}% of the ten best of all ${full.vectors}, ` +
      `in ${time(cost.took_ms)} instead of ${time(full.took_ms)} ${mean}`;
  }
}

async function watchBudgets() {
  try {
    const found = await answerOf(fetch("/api/budgets"));
    costs = Object.assign(found.measured, { queries: found.queries });
    if (!costs.length) setTimeout(watchBudgets, POLL);
    showBudget();
  } catch {
    setTimeout(watchBudgets, 5 * POLL);
  }
}

function begin(answer) {
  about = answer;
  const kinds = Object.entries(about.modalities);
  const words = { image: ["picture", "pictures"], text: ["text", "texts"], code: ["piece of code", "pieces of code"] };
  const facts = kinds.map(([name, n]) => count(n, ...(words[name] ?? [name])));
  at("name").textContent = about.name;
  const held = kinds.length ? facts.join(", ") : count(about.items, "item");
  at("facts").textContent = about.direction === null ? held : `${about.direction}, ${held}`;
  at("missing").hidden = about.missing === null;
  at("missing").textContent = about.missing ?? "";
  const texts = about.queries.includes("text");
  at("query").disabled = at("go").disabled = !texts;
  at("query").maxLength = about.most_characters;
  showPlaceholder();
  at("by-picture").hidden = !about.queries.includes("image");
  at("view").hidden = about.no_raw !== null;
  at("no-raw").textContent = [about.no_raw, about.no_line].filter(Boolean).join(" ");
  at("example-list").replaceChildren(
    ...about.examples.map((text) => {
      const button = make("button", { type: "button", className: "example", textContent: text });
      button.addEventListener("click", () => {
        change({ text, item: null, file: null });
        at("query").focus();
      });
      return make("li", {}, button);
    }),
  );
  at("kinds").hidden = kinds.length < 2;
  at("kind-boxes").replaceChildren(
    ...kinds.map(([name, n]) =>
      make("label", {}, make("input", { type: "checkbox", value: name }), `${name} (${n.toLocaleString("en")})`),
    ),
  );
  at("budget-set").hidden = !about.budgets.length;
  at("budget").max = Math.max(0, about.budgets.length - 1);
  if (about.budgets.length) watchBudgets();
  prepare(like);
  return restore();
}

// The question of the address, after opening the page, going back, or going forward.
function restore() {
  typing = false;
  state = fromAddress(about);
  const lost = state.file !== null && !files[state.file];
  if (lost) state.file = null;
  showOptions();
  at("query").value = state.text ?? "";
  return refresh().then(() => {
    if (lost) at("status").textContent = "The picture is no longer at hand; choose it again.";
  });
}

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  typed();
  typing = false;
});
at("query").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(typed, WAIT);
});
at("query").addEventListener("blur", () => (typing = false));
at("view").addEventListener("change", () => change({ view: document.forms.search.view.value }, { written: true }));
at("kinds").addEventListener("change", (event) => {
  const boxes = [...document.querySelectorAll("#kind-boxes input")];
  // At least one kind is shown.
  if (!boxes.some((box) => box.checked)) event.target.checked = true;
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  change({ modalities: chosen.length < boxes.length ? chosen : [] }, { written: true });
});
at("budget").addEventListener("input", () => {
  showBudget();
  clearTimeout(waiting);
  const last = Number(at("budget").value) === about.budgets.length - 1;
  const budget = last ? null : about.budgets[at("budget").value];
  waiting = setTimeout(() => change({ budget }, { replace: true, written: true }), WAIT / 2);
});
at("picture").addEventListener("change", () => {
  const [file] = at("picture").files;
  at("picture").value = "";
  searchWith(file);
});
at("clear").addEventListener("click", () => {
  change({ text: null, item: null, file: null });
  at("query").focus();
});
at("home").addEventListener("click", (event) => {
  event.preventDefault();
  if (about) change({ text: null, item: null, file: null, view: "aligned", modalities: [], budget: null });
});
at("again").addEventListener("click", () => (about ? refresh() : start()));

const dragged = (event) => about?.queries.includes("image") && [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragover", (event) => {
  if (!dragged(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!dragged(event)) return;
  event.preventDefault();
  searchWith([...event.dataTransfer.files].find((file) => file.type.startsWith("image/")));
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (!file || !about) return;
  event.preventDefault();
  searchWith(file);
});
addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, textarea, dialog");
  if (event.key !== "/" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  at("query").focus();
});
addEventListener("popstate", () => about && restore());

function start() {
  return during(async (signal, current) => {
    const answer = await answerOf(fetch("/api/about", { signal }));
    if (!current()) return;
    at("error").hidden = true;
    await begin(answer);
    if (!asked()) at("query").focus({ preventScroll: true });
  });
}
start();
