// The address of the page holds the question and the options, so that it can be shared and gone back to.
const VIEWS = ["aligned", "raw", "both"];

// What an address asks for; of what the index does not have, nothing.
export function fromAddress(about) {
  const params = new URLSearchParams(location.search);
  const budget = Number(params.get("budget"));
  const view = params.get("view");
  return {
    text: params.get("item") === null || about.composed ? (params.get("q")?.trim() || null) : null,
    item: params.get("item"),
    file: history.state?.file ?? null,
    view: VIEWS.includes(view) && about.no_raw === null ? view : "aligned",
    modalities: params.getAll("modality").filter((name) => name in about.modalities),
    budget: about.budgets.includes(budget) ? budget : null,
  };
}

export function toAddress({ text, item, file, view, modalities, budget }, { replace = false } = {}) {
  const params = new URLSearchParams();
  if (item !== null) params.set("item", item);
  if (text !== null) params.set("q", text);
  if (view !== "aligned") params.set("view", view);
  for (const name of modalities) params.append("modality", name);
  if (budget !== null) params.set("budget", budget);
  const address = `${location.pathname}${params.size ? `?${params}` : ""}`;
  const same = address === location.pathname + location.search && (history.state?.file ?? null) === file;
  // A picture cannot be in an address: the entry remembers which of this visit it was.
  history[replace || same ? "replaceState" : "pushState"]({ file }, "", address);
}
