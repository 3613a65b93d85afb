"""The README that is saved with an adapter: a model card for people, in Markdown."""

from __future__ import annotations

from align._display.escaping import in_code, in_markdown
from align.adapters.card import Candidate, Card
from align.adapters.components import Components
from align.adapters.maps.instructed import InstructedMap

LONGEST = 2000  # characters of a text in a card, for people

_TEMPLATE = """\
---
library_name: isthmus
pipeline_tag: feature-extraction
# license: name the licence that you publish these weights under, for example apache-2.0
tags:
- isthmus
- embeddings
- cross-modal-retrieval
---

# isthmus adapter: {method}

Two maps into one space of {dim} dimensions, from the vectors of two frozen encoders that were not
trained together. It serves the vectors of these encoders only.

| side | width | encoder |
|---|---|---|
| source | {card.d_source} | {source} |
| target | {card.d_target} | {target} |

## Use

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

{verdict}{reference}

{items}

## What was tried

{candidates}

## Files

`model.safetensors` holds the tensors, `config.json` the architecture, and `card.json` all of the
above for programs, with versions of the software and seconds per stage.
"""

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
_NO_ITEMS = "Which pairs it was fitted on is not recorded: keep test pairs apart yourself."
_TRIED = (
    "Mean reciprocal rank (MRR) with its 95 % interval, and recall at 10, both in [0, 1], over "
    "held-out training pairs. They depend on the size of the gallery, here {gallery} items; chance "
    "is a random order of it.\n\n"
    "| stage | candidate | MRR | interval | chance | recall at 10 | chance | chosen |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def model_card(components: Components, card: Card) -> str:
    """The model card of an adapter, with the YAML header that the Hugging Face hub reads."""
    reference, items = components.reference, components.training_items
    source_map = components.source_map
    return _TEMPLATE.format(
        method=_line(card.method),
        dim=source_map.dim,
        card=card,
        source=_encoder(card.source_fingerprint),
        target=_encoder(card.target_fingerprint),
        d_search=components.d_search,
        data=_data(card),
        instructions=_INSTRUCTIONS.format(*source_map.parts)
        if isinstance(source_map, InstructedMap)
        else "",
        verdict=_line(card.verdict) or "No verdict was recorded.",
        reference="" if reference is None else _REFERENCE.format(rows=reference.rows),
        items=_NO_ITEMS if items is None else _ITEMS.format(rows=items.pairs),
        candidates=_candidates(card),
    )


def _encoder(fingerprint: str | None) -> str:
    return "not recorded" if fingerprint is None else in_code(_short(fingerprint))


def _data(card: Card) -> str:
    parts = [f"Fitted on {card.n_pairs} pairs"]
    if card.n_groups:
        parts.append(f" in {card.n_groups} groups")
    if any(card.n_unpaired):
        source, target = card.n_unpaired
        parts.append(f", with {source} unpaired source and {target} unpaired target items")
    parts.append(".")
    if card.folds[0]:
        parts.append(f" Chosen on {card.folds[0]} folds, drawn {card.folds[1]} times")
        parts.append("." if card.seed is None else f" from seed {card.seed}.")
    return "".join(parts)


def _candidates(card: Card) -> str:
    if not card.candidates:
        return "Nothing else: the method was named by hand."
    rows = "\n".join(map(_row, card.candidates))
    return _TRIED.format(gallery=card.fold_gallery) + rows


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
