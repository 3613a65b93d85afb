"""The command line: each command is a few lines over the library. The only file that prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from align.adapters.adapter import Adapter
    from align.embeddings import Encoder, PairedEmbeddings
    from align.evaluation import Estimate, Evaluation
    from align.pairs import Pairs
    from align.store import EmbeddingStore

app = typer.Typer(
    help="Align two frozen encoders from a few thousand pairs, and search across them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
store_app = typer.Typer(help="Look after the cache of encoded items.", no_args_is_help=True)
app.add_typer(store_app, name="store")

PairsFile = Annotated[Path, typer.Argument(help="CSV, TSV, JSONL, Parquet, or a folder of images.")]
AdapterFolder = Annotated[Path, typer.Argument(help="Folder that `align fit` wrote.")]
Column = Annotated[str, typer.Option(help="Name of the column.")]
MaybeColumn = Annotated[str | None, typer.Option(help="Name of the column.")]
IdColumn = Annotated[str | None, typer.Option("--id", help="Column of unique ids.")]
GroupColumn = Annotated[
    str | None, typer.Option("--group", help="Column that ties pairs together, as one photo does.")
]
StoreFolder = Annotated[Path, typer.Option("--store", help="Cache of encoded items.")]
Skip = Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows and list them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Spec = Annotated[
    str, typer.Option(help="text:MODEL, code:MODEL, image:MODEL or python:MODULE:ATTRIBUTE.")
]
MaybeSpec = Annotated[
    str | None, typer.Option(help="Another encoder than the adapter remembers, same fingerprint.")
]
DEFAULT_STORE = Path("~/.cache/isthmus")


def _version(wanted: bool) -> None:
    if wanted:
        from align import __version__

        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Align two frozen encoders from a few thousand pairs, and search across them."""


@app.command()
def fit(
    pairs: PairsFile,
    source: Column,
    target: Column,
    source_encoder: Spec,
    target_encoder: Spec,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the adapter to.")],
    id: IdColumn = None,
    group: GroupColumn = None,
    query_only: Annotated[
        bool, typer.Option("--query-only", help="Leave target vectors, and their index, as is.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of folds and samples.")] = 0,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Fit an adapter on pairs; every setting is cross-validated among them.

    Example: `align fit pairs.csv --source caption --target image
    --source-encoder text:sentence-transformers/all-MiniLM-L6-v2
    --target-encoder image:facebook/dinov2-small -o my-adapter`
    """
    from dataclasses import replace

    from align.encoders.spec import from_spec
    from align.selection import fit as fit_adapter

    data = _encode(
        pairs, source, target, id, group, skip_bad,
        from_spec(source_encoder), from_spec(target_encoder), _store(store),
    )  # fmt: skip
    with _working(f"cross-validating maps on {len(data):,} pairs"):
        adapter = fit_adapter(data, side="source" if query_only else "both", seed=seed)
    specs = {"source": source_encoder, "target": target_encoder}
    adapter.card = replace(adapter.card, encoders=specs)
    adapter.save(out)
    card = adapter.card
    if as_json:
        _print_json({"adapter": str(out), "card": card.to_dict()})
        return
    console = _console()
    best = sorted((c for c in card.candidates if c.chosen), key=lambda c: c.mrr)
    table = _table(
        f"chosen on held-out folds of {card.fold_gallery:,}", "stage", "what", "MRR", "R@10"
    )
    for entry in best:
        half = 100 * (entry.high - entry.low) / 2
        table.add_row(
            entry.stage, entry.name, f"{100 * entry.mrr:.1f} ± {half:.1f}",
            f"{100 * entry.recall_at_10:.1f}",
        )  # fmt: skip
    console.print(table)
    console.print(f"{card.verdict}.\nsaved to {out}", highlight=False)


@app.command()
def evaluate(
    adapter: AdapterFolder,
    pairs: PairsFile,
    source: Column,
    target: Column,
    id: IdColumn = None,
    group: GroupColumn = None,
    source_encoder: MaybeSpec = None,
    target_encoder: MaybeSpec = None,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Recall and reciprocal rank of an adapter on pairs it has not seen, both directions.

    Example: `align evaluate my-adapter test.csv --source caption --target image`
    """
    from align.adapters.artifact import load
    from align.evaluation import evaluate as evaluate_adapter

    loaded = load(str(adapter))
    data = _encode(
        pairs, source, target, id, group, skip_bad,
        _encoder(loaded, "source", source_encoder), _encoder(loaded, "target", target_encoder),
        _store(store),
    )  # fmt: skip
    found = evaluate_adapter(data, loaded)
    if as_json:
        _print_json(found.to_dict())
    else:
        _console().print(evaluation_table(found))


@app.command()
def gap(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs as for `align fit`, or .npz with arrays source, target.")
    ],
    adapter: Annotated[
        Path | None, typer.Argument(help="Folder that `align fit` wrote; raw only without.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help=".html, .md, .json or .txt to write; may repeat."),
    ] = None,
    source: MaybeColumn = None,
    target: MaybeColumn = None,
    id: IdColumn = None,
    group: GroupColumn = None,
    source_encoder: MaybeSpec = None,
    target_encoder: MaybeSpec = None,
    test: Annotated[
        float | None,
        typer.Option(help="Measure only this share of the pairs, held out by group."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples, draws and nulls.")] = 0,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Measure the modality gap: offset, distribution, pairing, structure, pathologies.

    Every value comes with a 95 % interval and with what it would be by chance. Measure pairs that
    the adapter was not fitted on.

    Example: `align gap test.csv my-adapter --source caption --target image -o report.html`
    """
    from align.adapters.artifact import load
    from probes.reporting.document import check_format
    from probes.reporting.report import report

    for path in out or ():
        check_format(path)
    loaded = None if adapter is None else load(str(adapter))
    items, data = _measured_pairs(
        pairs, source, target, id, group, skip_bad, loaded, source_encoder, target_encoder, store
    )
    if test is not None:
        _, data = data.split(test=test, seed=seed)
    partial = out[0].with_name(f".{out[0].name}.partial") if out else None
    found = report(data, loaded, seed=seed, progress=True, resume=partial)
    for path in out or ():
        found.save(path, items)
    if as_json:
        typer.echo(found.to_json())
        return
    console = _console()
    if console.is_terminal:
        console.print(found)
    else:
        typer.echo(str(found))  # a file is as wide as it needs to be
    for path in out or ():
        console.print(f"written to {path}", highlight=False)


@app.command()
def index(
    adapter: AdapterFolder,
    items: Annotated[Path, typer.Argument(help="Folder of images, .txt of lines, or a table.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the index to.")],
    column: Annotated[str | None, typer.Option(help="Column of a table to index.")] = None,
    id: IdColumn = None,
    side: Annotated[str, typer.Option(help="Side the items are on: source or target.")] = "target",
    encoder: MaybeSpec = None,
    store: StoreFolder = DEFAULT_STORE,
    skip_bad: Skip = False,
    as_json: AsJson = False,
) -> None:
    """Encode, adapt and index items, so that they can be searched from the other side.

    Example: `align index my-adapter photos/ -o idx`
    """
    from align._checks import check_side
    from align.adapters.artifact import load
    from align.embeddings import Embeddings
    from align.items import read_items
    from align.retrieval.index import Index

    check_side(side)
    loaded = load(str(adapter))
    found = read_items(items, column=column, id=id, on_error="skip" if skip_bad else "raise")
    _report_skipped(found.skipped)
    frozen = _encoder(loaded, side, encoder)
    vectors = _store(store).encode(frozen, found.items, progress=True)
    made = Index.create(out, loaded, side="source" if side == "source" else "target")
    made.add(found.ids, Embeddings(vectors, frozen.fingerprint, found.ids))
    made.save()
    if as_json:
        _print_json({"index": str(out), "items": len(made), "repeats": found.repeats})
    else:
        again = f" ({found.repeats:,} repeats taken once)" if found.repeats else ""
        _console().print(f"{len(made):,} items{again} indexed in {out}", highlight=False)


@app.command()
def search(
    index: Annotated[Path, typer.Argument(help="Folder that `align index` wrote.")],
    query: Annotated[str, typer.Argument(help="Text, or the path of an image.")],
    k: Annotated[int, typer.Option("-k", help="How many items to show.", min=1)] = 10,
    encoder: MaybeSpec = None,
    as_json: AsJson = False,
) -> None:
    """The best items for one query from the other side.

    Example: `align search idx "a dog on a beach" -k 5`
    """
    from align.embeddings import Embeddings
    from align.retrieval.index import Index

    opened = Index.open(index)
    asking = "source" if opened.side == "target" else "target"
    frozen = _encoder(opened.adapter, asking, encoder)
    item = Path(query) if frozen.modality == "image" else query
    vector = Embeddings(frozen.encode([item]), frozen.fingerprint, (query,))
    hits = opened.search(vector, k=min(k, len(opened)))[0]
    if as_json:
        _print_json([{"id": hit.id, "score": hit.score} for hit in hits])
        return
    table = _table("", "", "score", "item")
    for place, hit in enumerate(hits, start=1):
        table.add_row(str(place), f"{hit.score:.3f}", hit.id)
    _console().print(table)


@store_app.command("stat")
def store_stat(store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """What the cache holds, encoder by encoder."""
    from dataclasses import asdict

    rows = _store(store).stat()
    if as_json:
        _print_json([asdict(row) for row in rows])
        return
    table = _table(str(store), "encoder", "kind", "dtype", "items", "shards", "MB")
    for row in rows:
        table.add_row(
            row.fingerprint, row.kind, row.dtype, f"{row.items:,}", f"{row.shards:,}",
            f"{row.bytes / 1e6:.1f}",
        )  # fmt: skip
    _console().print(table)


@store_app.command("verify")
def store_verify(store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Hash every cached vector again; exits with 1 if something is damaged."""
    problems = _store(store).verify()
    if as_json:
        _print_json([str(problem) for problem in problems])
    else:
        for problem in problems:
            _console().print(str(problem), highlight=False)
        _console().print(f"{len(problems)} problems in {store}", highlight=False)
    if problems:
        raise typer.Exit(1)


@store_app.command("prune")
def store_prune(
    store: StoreFolder = DEFAULT_STORE,
    drop: Annotated[
        list[str] | None, typer.Option(help="Fingerprint to remove altogether; may repeat.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove damage and leftovers, merge small files, and drop encoders by name."""
    freed = _store(store).prune(drop=drop or ())
    if as_json:
        _print_json({"freed_bytes": freed})
    else:
        _console().print(f"{freed / 1e6:.1f} MB freed in {store}", highlight=False)


def evaluation_table(found: Evaluation) -> Table:
    """One row per direction, per cent with half of the 95 % interval."""
    table = _table(
        "per cent, half of the 95 % interval", "", "gallery", "R@1", "R@5", "R@10", "MRR"
    )
    keys = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")
    for label, part in (
        ("source → target", found.source_to_target),
        ("target → source", found.target_to_source),
    ):
        cells = [_interval(part.metrics[key]) for key in keys]
        table.add_row(label, f"{part.gallery_size:,}", *cells)
    table.add_row("mean", "", *(_interval(found.mean[key]) for key in keys), style="bold")
    return table


def main() -> None:
    """Run the command line; errors are one message and exit code 1, tracebacks only by --debug."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted; what was encoded so far is kept", err=True)
        sys.exit(130)
    except (ValueError, OSError, ImportError, AttributeError, RuntimeError, TypeError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _encode(
    path: Path,
    source: str,
    target: str,
    id: str | None,
    group: str | None,
    skip_bad: bool,
    source_encoder: Encoder,
    target_encoder: Encoder,
    store: EmbeddingStore,
) -> PairedEmbeddings:
    pairs = _pairs(path, source, target, id, group, skip_bad)
    return pairs.encode(source_encoder, target_encoder, store=store, progress=True)


def _pairs(
    path: Path, source: str, target: str, id: str | None, group: str | None, skip_bad: bool
) -> Pairs:
    from align.pairs import Pairs

    found = Pairs.read(
        path, source=source, target=target, id=id, group=group,
        on_error="skip" if skip_bad else "raise",
    )  # fmt: skip
    _report_skipped(found.skipped)
    return found


def _measured_pairs(
    path: Path,
    source: str | None,
    target: str | None,
    id: str | None,
    group: str | None,
    skip_bad: bool,
    adapter: Adapter | None,
    source_encoder: str | None,
    target_encoder: str | None,
    store: Path,
) -> tuple[Pairs | None, PairedEmbeddings]:
    """Embeddings as they stand in an .npz, or items and their embeddings."""
    if path.suffix.lower() == ".npz":
        from align.embeddings import read_npz

        told = [
            word for word in (source, target, id, group, source_encoder, target_encoder) if word
        ]
        if told:
            raise ValueError(
                f"an .npz holds embeddings, ids and groups by itself; got {told} beside {path}. "
                "Leave out columns and encoders."
            )
        return None, read_npz(path)
    if source is None or target is None:
        raise ValueError(
            f"a table needs --source and --target, the columns of the two sides; got {source!r} "
            f"and {target!r} for {path}. Name both, or pass an .npz of embeddings."
        )
    items = _pairs(path, source, target, id, group, skip_bad)
    data = items.encode(
        _encoder(adapter, "source", source_encoder), _encoder(adapter, "target", target_encoder),
        store=_store(store), progress=True,
    )  # fmt: skip
    return items, data


def _encoder(adapter: Adapter | None, side: str, spec: str | None) -> Encoder:
    """The encoder of a side: the one named, or the one the adapter remembers."""
    from align.encoders.spec import from_spec

    remembered = spec or (None if adapter is None else adapter.card.encoders.get(side))
    if remembered is None:
        raise ValueError(
            f"the {side} encoder must be known; no adapter that `align fit` wrote remembers it. "
            f"Name it, for example --{side}-encoder text:MODEL."
        )
    return from_spec(remembered)


def _store(path: Path) -> EmbeddingStore:
    from align.store import EmbeddingStore

    return EmbeddingStore(path.expanduser())


def _report_skipped(skipped: tuple[str, ...]) -> None:
    for line in skipped:
        typer.echo(f"skipped: {line}", err=True)


@contextmanager
def _working(what: str) -> Iterator[None]:
    """A spinner on standard error while something has no steps to count."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def _interval(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} ± {50 * (estimate.high - estimate.low):.1f}"


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _console() -> Console:
    from rich.console import Console

    return Console()


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        numeric = column in {"score", "gallery", "MRR", "items", "shards", "MB"} or "@" in column
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


if __name__ == "__main__":
    main()
