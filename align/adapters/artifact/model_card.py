"""The README that is saved with an adapter: a model card for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from align._display.escaping import in_code, in_markdown
from align.adapters.card import Candidate, Card
from align.adapters.components import Components
from align.adapters.maps.instructed import InstructedMap
from align.encoders.named_models import NamedModel, models_in

LONGEST = 2000  # characters of a text in a card, for people

_TEMPLATE = """\
---
library_name: isthmus
pipeline_tag: feature-extraction
# license: name the licence that you publish these weights under, for example apache-2.0
{base_models}tags:
- isthmus
- embeddings
- cross-modal-retrieval
{results}---

# isthmus adapter: {title}

Two maps into one space of {dim} dimensions, from the vectors of two frozen encoders that were not
trained together. It serves the vectors of these encoders only.

| side | encoder | width | fingerprint |
|---|---|---|---|
| {source_name} | {source} | {card.d_source} | {source_fingerprint} |
| {target_name} | {target} | {card.d_target} | {target_fingerprint} |
{instruction_row}
## How well it finds pairs

{held_out}

## Use

{raw_items}Vectors of the encoders, however they were made:

```python
import align

adapter = align.load("owner/name")  # or the path of this folder
queries = adapter.queries(x, side="source")  # (n, {card.d_source}) -> (n, {d_search})
gallery = adapter.gallery(y, side="target")  # (m, {card.d_target}) -> (m, {d_search})
scores = queries @ gallery.T  # higher is nearer; any inner-product index does the same
```

{instructions}`pip install isthmus` brings `align`. Loading runs no code from this folder.

## How it was made

{data}

{method}{verdict}{reference}

{items}

## Limits

{limits}

## What was tried

{candidates}

## Files

`model.safetensors` holds the tensors, `config.json` the architecture, and `card.json` all of the
above for programs, with versions of the software and seconds per stage.{paths}
"""

_RAW_ITEMS = """\
Raw items, by the encoders that it remembers:

```python
import align

adapter = align.load("owner/name")  # or the path of this folder
index = align.Index.create("idx", adapter)
retriever = align.Retriever(index{trust})  # builds the encoders named above
retriever.add(ids, items)  # {gallery_items}
index.save()
for hit in retriever.search([query], k=5)[0]:  # {query_item}
    print(hit.id, hit.score)
```

On the command line: `align index FOLDER ITEMS -o idx{flag}`, then `align search idx QUERY{flag}`.

"""
_HELD_OUT = """\
Pairs that were held out of the training pairs in turn: {folds}. One item is looked for among
{gallery} of the other side; both directions count alike.

| | MRR | 95 % interval | recall at 10 |
|---|---|---|---|
| this adapter | {mrr:.4f} | {low:.4f} to {high:.4f} | {recall:.4f} |
| chance: a random order | {chance_mrr} | | {chance_recall} |
"""
_NOT_HELD_OUT = "Nothing was held out when it was made, so no number is given."
_LIMITS = (
    "It serves vectors of the two encoders above. It refuses vectors that say they come from "
    "others; bare arrays cannot be checked.",
    "It saw {n_pairs} pairs of one kind. Items of another kind, language or domain are found less "
    "well, and how much less has to be measured: `align evaluate`.",
    "Scores rank the items of one gallery for one query. They are no probabilities, and there is "
    "always a first hit, also where nothing fits.",
    "It brings vectors of two encoders together and adds no knowledge: what an encoder does not "
    "see, no map finds, and biases of the encoders stay.",
)
_HELD_OUT_LIMIT = (
    "The numbers above are of folds of the training data, in a gallery of {gallery}: in a larger "
    "one fewer are found, and the best of several candidates is a little lucky. A test set of its "
    "own says more."
)
_PATHS = (
    " `card.json` also names the encoders as they were given, and so the local folders of {names}: "
    "before you publish this folder, fit with hub ids, or look at whether those paths may be read."
)

_INSTRUCTIONS = (
    "Sources bring an instruction: `x = align.with_instructions(items, instructions)`, of vectors "
    "of width {} and {}. An instruction of zeros is none.\n\n"
)
_REFERENCE = (
    "\n\nThe weights hold {rows} of the training pairs, projected into the shared space, "
    "to correct and expand gallery vectors."
)
_ITEMS = (
    "The weights hold eight numbers of each of {rows} training pairs and side, from which no item "
    "can be read back: `adapter.trained_on(pairs)` tells which pairs are no test."
)
_STATISTICS = (
    "\n\nFor `adapter.update` the weights also hold second moments of all pairs and raw vectors "
    "of {rows} of them: `adapter.replaced(statistics=None)` saves without."
)
_NO_ITEMS = "Which pairs it was fitted on is not recorded: keep test pairs apart yourself."
_CALIBRATION = (
    " They also hold a mean and the directions of most variance of each side's vectors, and scores "
    "of held-out pairs: `hit.confidence` says how sure a hit is, and "
    "`adapter.out_of_domain(vectors)` which items are unlike those of training."
)
_TRIED = (
    "Mean reciprocal rank (MRR) with its 95 % interval, and recall at 10, both in [0, 1], over "
    "held-out training pairs. They depend on the size of the gallery, here {gallery} items; chance "
    "is a random order of it.\n\n"
    "| stage | candidate | MRR | interval | chance | recall at 10 | chance | chosen |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def model_card(components: Components, card: Card) -> str:
    """The model card of an adapter, with the YAML header that the Hugging Face hub reads.

    Paths of local folders stay out of it: of those, the last name is shown.
    """
    reference, items = components.reference, components.training_items
    statistics = components.statistics
    source_map = components.source_map
    sides = {role: models_in(spec) for role, spec in card.encoders.items()}
    instruction = card.encoders.get("instruction")
    return _TEMPLATE.format(
        title=_title(card),
        base_models=_base_models(sides),
        results=_results(card),
        dim=source_map.dim,
        card=card,
        source_name=_side("source", card.side_names[0]),
        target_name=_side("target", card.side_names[1]),
        source=_encoder(sides.get("source")),
        target=_encoder(sides.get("target")),
        source_fingerprint=_fingerprint(card.source_fingerprint),
        target_fingerprint=_fingerprint(card.target_fingerprint),
        instruction_row=""
        if instruction is None
        else f"| instruction | {_encoder(sides['instruction'])} | | |\n",
        held_out=_held_out(card),
        raw_items=_raw_items(sides),
        d_search=components.d_search,
        data=_data(card),
        instructions=_INSTRUCTIONS.format(*source_map.parts)
        if isinstance(source_map, InstructedMap)
        else "",
        method=f"Method: {_line(card.method)}.\n\n",
        verdict=_line(card.verdict) or "No verdict was recorded.",
        reference="" if reference is None else _REFERENCE.format(rows=reference.rows),
        items=(_NO_ITEMS if items is None else _ITEMS.format(rows=items.pairs))
        + ("" if components.calibration is None else _CALIBRATION)
        + ("" if statistics is None else _STATISTICS.format(rows=statistics.sampled)),
        limits=_limits(card),
        candidates=_candidates(card),
        paths=_paths(sides),
    )


Models = Mapping[str, tuple[NamedModel, ...]]


def _title(card: Card) -> str:
    """The models of both sides, or the method where they are not known."""
    named = [models_in(card.encoders.get(side, "")) for side in ("source", "target")]
    if not all(named):
        return _line(card.method)
    return " → ".join(" + ".join(_line(each.name) for each in models) for models in named)


def _side(role: str, name: str) -> str:
    """A side, and what people call it where that is something else."""
    return role if name == role else f"{role}: {_line(name)}"


def _base_models(sides: Models) -> str:
    ids = dict.fromkeys(each.name for models in sides.values() for each in models if each.is_hub_id)
    return "".join(["base_model:\n", *(f'- "{name}"\n' for name in ids)]) if ids else ""


def _results(card: Card) -> str:
    """The held-out numbers as the hub's ``model-index``; nothing where nothing was held out."""
    held = card.held_out
    if held is None or not card.folds[0]:
        return ""
    metrics = {
        "mean_reciprocal_rank": ("Mean reciprocal rank", held.mrr),
        "recall_at_10": ("Recall at 10", held.recall_at_10),
    }
    lines = [
        "model-index:", "- name: isthmus-adapter", "  results:", "  - task:",
        "      type: feature-extraction", "      name: Cross-modal retrieval", "    dataset:",
        "      type: held-out-folds",
        f"      name: Held-out folds of {card.n_before_updates or card.n_pairs} training pairs, "
        f"gallery of {card.fold_gallery}",
        "    metrics:",
    ]  # fmt: skip
    for kind, (name, value) in metrics.items():
        lines += [f"    - type: {kind}", f"      value: {value:.4f}", f"      name: {name}"]
    return "\n".join(lines) + "\n"


def _encoder(models: Sequence[NamedModel] | None) -> str:
    """The models of a side, linked to the hub where they are from there."""
    if not models:
        return "not recorded"
    return " + ".join(map(_model, models))


def _model(named: NamedModel) -> str:
    kind = f"{named.kind} "
    options = f" ({in_code(_short(named.options))})" if named.options else ""
    if named.is_hub_id:
        link = f"[{_line(named.name)}](https://huggingface.co/{named.name})"
        return f"{kind}{link}{options}"
    where = " (a local folder)" if named.is_local else ""
    return f"{kind}{in_code(_short(named.name))}{where}{options}"


def _fingerprint(fingerprint: str | None) -> str:
    return "not recorded" if fingerprint is None else in_code(_short(fingerprint))


def _raw_items(sides: Models) -> str:
    """How to search with raw items, where both encoders can be built again."""
    if not sides.get("source") or not sides.get("target"):
        return ""
    is_code = any(each.kind == "python" for models in sides.values() for each in models)
    return _RAW_ITEMS.format(
        trust=", trust=True" if is_code else "",
        flag=" --trust" if is_code else "",
        gallery_items=_item_words(sides["target"], "items"),
        query_item=_item_words(sides["source"], "an item"),
    )


def _item_words(models: Sequence[NamedModel], plain_word: str) -> str:
    several = plain_word == "items"
    words = {
        "text": ("texts", "a text"),
        "code": ("pieces of code", "a piece of code"),
        "image": ("paths of pictures, as pathlib.Path", "the path of a picture, as pathlib.Path"),
    }
    kinds = {each.kind for each in models}
    known = words.get(kinds.pop()) if len(kinds) == 1 else None
    if known is None:
        return f"{plain_word} as the encoder takes {'them' if several else 'it'}"
    return known[0 if several else 1]


def _held_out(card: Card) -> str:
    held = card.held_out
    if held is None or not card.folds[0]:
        return _NOT_HELD_OUT
    folds, times = card.folds
    chosen_on = card.n_before_updates or card.n_pairs
    return _HELD_OUT.format(
        folds=f"{folds} folds of {chosen_on} pairs" + (f", drawn {times} times" * (times > 1)),
        gallery=card.fold_gallery,
        mrr=held.mrr,
        low=held.low,
        high=held.high,
        recall=held.recall_at_10,
        chance_mrr=_number(held.chance_mrr),
        chance_recall=_number(held.chance_at_10),
    ).rstrip()


def _limits(card: Card) -> str:
    limits = [each.format(n_pairs=card.n_pairs) for each in _LIMITS]
    if card.held_out is not None and card.folds[0]:
        limits.append(_HELD_OUT_LIMIT.format(gallery=card.fold_gallery))
    return "\n".join(f"- {limit}" for limit in limits)


def _paths(sides: Models) -> str:
    local = dict.fromkeys(
        in_code(_short(each.name)) for models in sides.values() for each in models if each.is_local
    )
    return _PATHS.format(names=", ".join(local)) if local else ""


def _data(card: Card) -> str:
    parts = [f"Fitted on {card.n_pairs} pairs"]
    if card.n_groups:
        parts.append(f" in {card.n_groups} groups")
    if any(card.n_unpaired):
        source, target = card.n_unpaired
        parts.append(f", with {source} unpaired source and {target} unpaired target items")
    parts.append(".")
    if card.n_before_updates:
        parts.append(
            f" A fit of the first {card.n_before_updates} chose the settings and gave the numbers; "
            "the others were added to its maps."
        )
    if card.folds[0]:
        parts.append(f" Chosen on {card.folds[0]} folds, drawn {card.folds[1]} times")
        parts.append("." if card.seed is None else f" from seed {card.seed}.")
    return "".join(parts)


def _candidates(card: Card) -> str:
    if not card.candidates:
        return "Nothing else: the method was named by hand."
    rows = "\n".join(map(_row, card.candidates))
    table = _TRIED.format(gallery=card.fold_gallery) + rows
    count = len(card.candidates)
    summary = f"{count} candidate{'s' * (count != 1)}, with intervals and chance"
    return f"<details>\n<summary>{summary}</summary>\n\n{table}\n\n</details>"


def _row(tried: Candidate) -> str:
    return (
        f"| {_line(tried.stage)} | {_line(tried.name)} | {tried.mrr:.4f} "
        f"| {tried.low:.4f} to {tried.high:.4f} | {_number(tried.chance_mrr)} "
        f"| {tried.recall_at_10:.4f} | {_number(tried.chance_at_10)} "
        f"| {'yes' if tried.chosen else ''} |"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(text: str) -> str:
    """``text`` as one line in which Markdown marks nothing up, also in a cell of a table."""
    return in_markdown(_short(text))


def _short(text: str) -> str:
    """``text`` as one line of at most ``LONGEST`` characters."""
    whole = " ".join(text.split())
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]} ..."
