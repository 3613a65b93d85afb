"""``align curate``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli.inputs import encode, read_pairs
from align.apps.cli.options import (
    DEFAULT_STORE,
    AsJson,
    Column,
    GroupColumn,
    IdColumn,
    PairsFile,
    Seed,
    Skip,
    Spec,
    StoreFolder,
)
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say, working

if TYPE_CHECKING:
    from align.curation.report import Finding


def curate(
    pairs: PairsFile,
    source: Column,
    target: Column,
    source_encoder: Spec,
    target_encoder: Spec,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write: one line per pair.")],
    id: IdColumn = None,
    group: GroupColumn = None,
    near_text: Annotated[
        float, typer.Option(help="Least Jaccard similarity of near-duplicate texts.")
    ] = 0.9,
    near_vector: Annotated[
        float, typer.Option(help="Least cosine of near-duplicate vectors, on both sides.")
    ] = 0.98,
    cut: Annotated[
        float,
        typer.Option(help="A pair is suspect if this share of false pairs fits as well."),
    ] = 0.5,
    seed: Seed = 0,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Find repeated pairs and pairs that may not belong together; nothing is removed.

    The table has a line per pair: its id, the decision (keep, drop or suspect), why, the pair that
    it repeats, and a score. Look at it, then filter the pairs by it. An id that a spreadsheet would
    take for a formula stands there behind an apostrophe.

    Example: `align curate pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small -o curated.csv`
    """
    from align._files.atomic import atomic_file
    from align.curation.report import curate as look
    from align.encoders.spec import from_spec

    check_file(out)
    items = read_pairs(pairs, source, target, id, group, skip_bad)
    data = encode(items, from_spec(source_encoder), from_spec(target_encoder), store)
    with working(f"comparing {len(data):,} pairs"):
        found = look(items, data, near_text=near_text, near_vector=near_vector, cut=cut, seed=seed)
    with atomic_file(out) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "decision", "reason", "of", "score"])
        for each in found.findings:
            lines.writerow(line_of(each))
    if as_json:
        print_json({"table": str(out), **found.to_dict()})
        return
    say(*str(found).split("\n"), f"written to {out}")


def line_of(found: Finding) -> list[str]:
    """What the table says of one pair; no cell of it is a formula to a spreadsheet.

    Args:
        found: What was found of the pair.
    """
    from align.data.escaping import escape_formula

    score = "" if found.score is None else f"{found.score:.4f}"
    return [
        escape_formula(cell) for cell in (found.id, found.decision, found.reason, found.of, score)
    ]
