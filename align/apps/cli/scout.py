"""``align scout``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import columns_of, is_archive, open_store, read_pairs
from align.apps.cli.outputs import check_file
from align.apps.cli.printing import print_json, say

if TYPE_CHECKING:
    from align.fitting.scouting.encoder_pair import EncoderPair

Encoders = list[str]


def scout(
    pairs: options.PairsFile,
    source_encoder: Annotated[
        Encoders,
        typer.Option(
            help="One to look at, such as text:minilm; may repeat.",
            rich_help_panel=options.ENCODING,
        ),
    ],
    target_encoder: Annotated[
        Encoders,
        typer.Option(help="The same of the targets.", rich_help_panel=options.ENCODING),
    ],
    layers: Annotated[
        bool, typer.Option(help="Look at other layers and poolings of each network.")
    ] = True,
    most_parts: Annotated[
        int, typer.Option(help="Encoders that may stand side by side; 1 for none.")
    ] = 2,
    most_pairs: Annotated[int, typer.Option(help="Pairs that are looked at.")] = 2000,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    id: options.IdColumn = None,
    group: options.GroupColumn = None,
    source_modality: options.SideModality = None,
    target_modality: options.SideModality = None,
    figure: Annotated[
        Path | None,
        typer.Option(help=".png or .svg of score against cost.", rich_help_panel=options.WRITING),
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    store: options.StoreFolder = options.DEFAULT_STORE,
    skip_bad: options.Skip = False,
    as_json: options.AsJson = False,
) -> None:
    """Which encoders, layers and poolings suit these pairs, before anything is fitted.

    All are judged by cross-validation on the pairs alone. What cannot be told from the best is
    said to be within the noise.

    Example: `align scout pairs.csv --source caption --target image
    --source-encoder text:minilm --source-encoder text:use
    --target-encoder image:efficientnet-lite0`
    """
    from align._display.figure import check_matplotlib
    from align.encoders.spec import load_encoder
    from align.fitting.scouting.search import scout as look

    if is_archive(pairs):
        raise ValueError(
            "encoders are chosen for items, and an .npz holds vectors that were encoded before; "
            f"got {pairs}. Pass the table of the items."
        )
    if figure is not None:
        check_matplotlib()
        check_file(figure)
    columns = {
        "source": source, "target": target, "id": id, "group": group,
        "source_modality": source_modality, "target_modality": target_modality,
    }  # fmt: skip
    sources, targets = (
        [load_encoder(spec, device=device) for spec in specs]
        for specs in (source_encoder, target_encoder)
    )
    found = look(
        read_pairs(pairs, columns_of(pairs, columns), skip_bad),
        sources=sources,
        targets=targets,
        layers=layers,
        most_parts=most_parts,
        most_pairs=most_pairs,
        store=open_store(store),
        seed=seed,
    )
    if figure is not None:
        found.plot().savefig(figure, dpi=150, facecolor="white")
    if as_json:
        print_json(
            {
                "verdict": found.verdict,
                "best": found.best.to_dict(),
                "cheapest": found.cheapest.to_dict(),
                "chance": {"mrr": found.chance_mrr, "recall_at_10": found.chance_at_10},
                "pairs": found.n_pairs,
                "candidates": [pair.to_dict() for pair in found.pairs],
                "left_out": list(found.left_out),
                "figure": None if figure is None else str(figure),
            }
        )
        return
    say(*str(found).split("\n"), "")
    say(f"the best, for align fit:     {_words(found.best)}")
    if found.cheapest is not found.best:
        say(f"the cheapest, for align fit: {_words(found.cheapest)}")
    if figure is not None:
        say(f"written to {figure}")


def _words(pair: EncoderPair) -> str:
    source, target = pair.names
    return f"--source-encoder '{source}' --target-encoder '{target}'"
