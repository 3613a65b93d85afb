"""``align curate``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import EncoderChoice, encode_pairs
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say

if TYPE_CHECKING:
    from align.curation.report import Finding


def curate(
    pairs: options.PairsFile,
    source: options.Column,
    target: options.Column,
    source_encoder: options.Spec,
    target_encoder: options.Spec,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write: one line per pair.")],
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
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
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Find repeated pairs and pairs that may not belong together; nothing is removed.

    The table has a line per pair: its id, the decision (keep, drop or suspect), why, the pair that
    it repeats, and a score. Look at it, then filter the pairs by it. An id that a spreadsheet would
    take for a formula is written behind an apostrophe.

    Example: `align curate pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small -o curated.csv`
    """
    from align._files.atomic import atomic_file
    from align.curation.report import curate as find
    from align.data.validation import Columns

    check_file(out)
    columns = Columns(source, target, id, group)
    specs = {"source": source_encoder, "target": target_encoder}
    encoders = EncoderChoice(specs, device)
    items, data = encode_pairs(pairs, columns, encoders, store, skip_bad)
    curated = find(items, data, near_text=near_text, near_vector=near_vector, cut=cut, seed=seed)
    with atomic_file(out) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "decision", "reason", "of", "score"])
        lines.writerows(line_of(finding) for finding in curated.findings)
    if as_json:
        print_json({"table": str(out), **curated.to_dict()})
        return
    say(*str(curated).split("\n"), f"written to {out}")


def line_of(finding: Finding) -> list[str]:
    """The line of one pair in the table; no cell of it is a formula to a spreadsheet."""
    from align._display.escaping import escape_formula

    score = "" if finding.score is None else f"{finding.score:.4f}"
    cells = finding.id, finding.decision, finding.reason, finding.of, score
    return [escape_formula(cell) for cell in cells]
