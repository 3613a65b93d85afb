"""``align upgrade``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from align.apps.cli import options
from align.apps.cli.inputs import check_better, open_store, read_pairs, report_skipped
from align.apps.cli.outputs import check_adapter_folder
from align.apps.cli.printing import console, percent, print_json, say, table


def upgrade(
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="Encoder that filled the index, as in `align fit`."),
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Encoder of the queries, as in `align fit`.")
    ],
    items: options.ItemsFile,
    out: options.AdapterOut,
    column: options.ItemsColumn = None,
    id: options.IdColumn = None,
    group: Annotated[
        str | None,
        typer.Option("--group", help="Column of a table: items of a group answer each other."),
    ] = None,
    require_better_than_chance: options.RequireBetter = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Search an old encoder's index with a new encoder's queries; the index stays untouched.

    Items are those of the index or a sample of them; both encoders see them. Without a group the
    map is chosen that finds most of what the old encoder would find; with one, the map that finds
    most items of a query's group.

    Example: `align upgrade text:sentence-transformers/all-MiniLM-L6-v2 text:BAAI/bge-small-en-v1.5
    items.txt -o upgrade`
    """
    from align.data.embeddings import Embeddings
    from align.data.encoding import spec_of
    from align.encoders.spec import load_encoder
    from align.fitting.migration.upgrade import upgrade as fit_upgrade

    check_adapter_folder(out)
    encoders = {spec: load_encoder(spec, device=device) for spec in (new, old)}
    fingerprints = {spec: encoders[spec].fingerprint for spec in encoders}  # both are there
    ids, contents, groups = _read(items, column, id, group, skip_bad)
    sides = [
        Embeddings(
            open_store(store).encode(encoders[spec], contents),
            fingerprints[spec],
            ids,
            spec_of(encoders[spec]) or spec,
        )
        for spec in (new, old)
    ]
    upgraded = fit_upgrade(*sides, groups=groups, seed=seed)
    check_better(upgraded.adapter, require_better_than_chance, out)
    upgraded.adapter.save(out)
    if as_json:
        print_json({"adapter": str(out), **upgraded.to_dict()})
        return
    columns = ["map", "first kept @1", "ten kept @10", *(["R@10"] if groups else [])]
    title = f"{upgraded.queries:,} held-out queries, index of {upgraded.index_size:,}"
    grid = table(title, *columns)
    for each in upgraded.tried:
        numbers = (each.kept_at_1, each.kept_at_10, each.recall_at_10)
        cells = [f"{100 * number:.1f}" for number in numbers if number is not None]
        grid.add_row(each.name, *cells, style="bold" if each.chosen else None)
    chance = (f"{100 * value:.1f}" for value in upgraded.chance.values())
    grid.add_row("chance: another query's answers", *chance)
    console().print(grid)
    summary = [
        f"new queries keep {percent(upgraded.kept_at_10)} % of the ten items that old queries "
        f"find, {percent(upgraded.kept_at_1)} % of the first"
    ]
    if upgraded.recall_kept is not None:
        summary.append(
            f"their recall@10 is {percent(upgraded.recall_kept)} % of that of old queries"
        )
    say(*summary, f"saved to {out}")


def _read(
    path: Path, column: str | None, id: str | None, group: str | None, skip_bad: bool
) -> tuple[tuple[str, ...], Sequence[Any], tuple[str, ...] | None]:
    """Ids, items and, where a column names them, groups."""
    from align.data.items import read_items
    from align.data.validation import Columns

    if group is None:
        contents = read_items(path, column=column, id=id, on_error="skip" if skip_bad else "raise")
        report_skipped(contents.skipped)
        return contents.ids, contents.items, None
    if column is None:
        raise ValueError(
            f"groups are read from a table, whose column of items must be named; {path} came "
            f"without one. Name it with --column beside --group {group}."
        )
    pairs = read_pairs(path, Columns(column, column, id, group), skip_bad)
    return pairs.ids, pairs.source, pairs.groups
