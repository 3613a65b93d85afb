"""Can pages of documents be searched as pictures, by an encoder that never learned to read?

    ISTHMUS_DATA=... python -m experiments.document_pages [--draws 3] [--quick]

ViDoRe's kind of task (arXiv:2407.01449), small, and made, not scanned: a page of 448 x 448 pixels
has a heading, a photo of Flickr8k and four of its captions, set in the font that Pillow brings. The
query is the other caption, which is nowhere printed. Pages go through EfficientNet-Lite0, a
network of photos that sees them at 224 x 224 pixels, and queries through MiniLM.

A page is one vector, the mean of its grid; or the 49 vectors of its grid, but for those that bare
white leaves all zero, each mapped by the same adapter and scored by MaxSim; or the vectors of a
head of ``align.fit_meta_tokens``, whose gate is off. The same pages are searched without their text
and without their photo, and so is the photo that fills the whole picture. Beside them stands what a
reader without a mistake would allow: BM25 and the cosine of MiniLM on the printed text. The record
is ``experiments/results/document_pages.json``, with a figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from align._files.cache import cache_folder
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from align.fitting.model_selection.fit import fit
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.metrics.chance import RandomOrder, without_chance_warnings
from align.metrics.estimates import MEANS, Estimate, mean_values
from align.metrics.ranks import rank_scores
from align.scoring.late_interaction import maxsim
from experiments.datasets import flickr8k
from experiments.lexical import bm25_scores, split
from experiments.meta_embed import remember_pairs
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import LITE0, MINILM, Task, token_states
from experiments.trials import intervals

CAPTIONS = 5  # of a photo; the first is the query, the others are printed
SIDE, MARGIN = 448, 24
HEADING, HEADING_SIZE, HEADING_COLOUR, INK = "What people saw", 22, "#1F4E79", "#202020"
RULE, PHOTO_TOP, PHOTO_SIZE, TEXT_TOP = 54, 64, (224, 168), 240  # 4:3, as most photos were
TEXT_SIZES = (18, 17, 16, 15, 14, 13, 12, 11, 10)  # the largest in which a page has room
LEADING = 1.25

BOTH, TEXT, PHOTO, WHOLE = "photo and text", "text alone", "photo alone", "the photo, no page"
KINDS = (BOTH, TEXT, PHOTO, WHOLE)
ONE, PATCHES, HEAD = "one vector", "its grid, MaxSim", "meta tokens, MaxSim"
PRINTED = "the printed text"
BM25, COSINE = "BM25", "MiniLM, cosine"
SHOWN = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")
BLOCK = 128  # pages that are held as pictures at a time

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        n: Training pages of a draw.
        pool: Pages of ``train`` that they are drawn from.
        gallery: Pages of ``dev`` that are searched, each with its query.
        draws: Of the training pages.
        head: Vectors of a query and of a page, by meta tokens.
        epochs: Most passes of their training.
    """

    n: int = 800
    pool: int = 1200
    gallery: int = 500
    draws: int = 3
    head: tuple[int, int] = (4, 16)
    epochs: int = 3


@dataclass(frozen=True, slots=True)
class Document:
    """What a page is made of, and what asks for it.

    Attributes:
        name: Of the photo.
        query: A caption that is not printed.
        texts: The captions that are.
        photo: Its file.
    """

    name: str
    query: str
    texts: tuple[str, ...]
    photo: Path


@dataclass(frozen=True, slots=True)
class Line:
    """One way to search one kind of page.

    Attributes:
        pages: What is on them, one of ``KINDS``; or ``"the printed text"``.
        system: What stands for a page, or what reads its text.
        metrics: By name, with intervals over queries and draws.
        gain: In recall at 10 over the same pages without text, paired by query and draw; for pages
            of photo and text.
    """

    pages: str
    system: str
    metrics: Mapping[str, Estimate]
    gain: Estimate | None


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Pages that are searched.
        chance: The metrics of a random order.
        lines: Kind after kind.
        verdicts: Of the adapter for each kind of page, in the first draw, and of the meta tokens.
    """

    gallery: int
    chance: Mapping[str, float]
    lines: tuple[Line, ...]
    verdicts: Mapping[str, str]


def documents(part: Literal["train", "dev"], number: int) -> list[Document]:
    """The first photos of Flickr8k whose first caption is not among the others, word for word."""
    pairs = flickr8k(part, captions=CAPTIONS)
    found = []
    for start in range(0, len(pairs), CAPTIONS):
        first, *others = pairs.source[start : start + CAPTIONS]
        if not is_printed(first, others):
            photo = pairs.target[start]
            found.append(Document(photo.name, first, tuple(others), photo))
    return found[:number]


def is_printed(query: str, texts: Sequence[str]) -> bool:
    """Whether one of the texts holds all words of a query in their order, whatever the case."""
    asked = f" {' '.join(split(query))} "
    return any(asked in f" {' '.join(split(text))} " for text in texts)


def page(document: Document, *, photo: bool = True, text: bool = True) -> Image.Image:
    """A white page with a heading, a photo and captions; the room of what is left out stays empty.

    Raises:
        ValueError: The captions have no room, even in the smallest letters.
    """
    drawn = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(drawn)
    heading = ImageFont.load_default(HEADING_SIZE)
    draw.text((MARGIN, MARGIN), HEADING, fill=HEADING_COLOUR, font=heading)
    draw.line(((MARGIN, RULE), (SIDE - MARGIN, RULE)), fill=HEADING_COLOUR, width=2)
    if photo:
        with Image.open(document.photo) as file:
            picture = file.convert("RGB").resize(PHOTO_SIZE, Image.Resampling.LANCZOS)
        drawn.paste(picture, ((SIDE - PHOTO_SIZE[0]) // 2, PHOTO_TOP))
    if text:
        size, lines = typeset(document.texts)
        font = ImageFont.load_default(size)
        for at, line in enumerate(lines):
            draw.text((MARGIN, TEXT_TOP + at * LEADING * size), line, fill=INK, font=font)
    return drawn


def typeset(texts: Sequence[str]) -> tuple[int, list[str]]:
    """The largest size of letters that the room below the photo allows, and the lines in it.

    Raises:
        ValueError: None of ``TEXT_SIZES`` is small enough.
    """
    width, height = SIDE - 2 * MARGIN, SIDE - MARGIN - TEXT_TOP
    for size in TEXT_SIZES:
        font = ImageFont.load_default(size)
        lines = [line for text in texts for line in wrapped(text, font, width)]
        longest = max((font.getlength(line) for line in lines), default=0)
        if longest <= width and len(lines) * LEADING * size <= height:
            return size, lines
    raise ValueError(
        f"the texts of a page must have room in letters of {TEXT_SIZES[-1]} pixels; "
        f"got {sum(map(len, texts))} characters. Print fewer, or shorter words."
    )


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """The words of a text in lines of at most ``width`` pixels; a longer word has its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def picture_of(document: Document, kind: str) -> Image.Image | Path:
    """A page of one of ``KINDS``, or the file of the photo itself."""
    if kind == WHOLE:
        return document.photo
    return page(document, photo=kind != TEXT, text=kind != PHOTO)


def load(kind: str, pool: Sequence[Document], gallery: Sequence[Document]) -> Task[TokenPairs]:
    """Queries and pages encoded; queries have token states where meta tokens are fitted."""
    return Task(*(_encoded(each, kind, tokens=kind == BOTH) for each in (pool, gallery)))


def _encoded(pages: Sequence[Document], kind: str, *, tokens: bool) -> TokenPairs:
    store = EmbeddingStore(cache_folder() / "store")
    image, text = load_encoder(LITE0), load_encoder(MINILM)
    queries = [each.query for each in pages]
    pooled, grids = [], []
    for start in range(0, len(pages), BLOCK):
        pictures = [picture_of(each, kind) for each in pages[start : start + BLOCK]]
        for states in image.encode_tokens(pictures):  # type: ignore[attr-defined]  # it has them
            pooled.append(states.mean(dim=0))
            half = states.half()
            grids.append(half[half.any(dim=1)])  # a vector of zeros has no direction
    pairs = PairedEmbeddings.from_arrays(
        store.encode(text, queries, progress=True),
        torch.stack(pooled),
        ids=[each.name for each in pages],
    )
    asking = token_states(MINILM, queries) if tokens else None
    return TokenPairs(pairs, asking, MultiVector.pack(grids))


def scores_of(
    train: TokenPairs, gallery: TokenPairs, config: Config, *, seed: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Scores of all queries with all pages by each system, ``(q, m)``; and what the gates said.

    Meta tokens are fitted where queries have token states.
    """
    fit_adapter = remember_pairs(fit)
    with without_chance_warnings():
        adapter = fit_adapter(train.pooled)
    asked, pages = gallery.pooled.source, gallery.target
    assert pages is not None
    queries = adapter.queries(asked)
    patches = MultiVector(adapter.gallery(pages.tokens.float()), pages.offsets)
    found = {
        ONE: queries @ adapter.gallery(gallery.pooled.target).T,
        PATCHES: maxsim(MultiVector.from_equal(queries[:, None]), patches),
    }
    verdicts = (adapter.card.verdict,)
    if gallery.source is not None:
        with without_chance_warnings():
            head = fit_meta_tokens(
                train, asking=config.head[0], vectors=config.head[1], epochs=config.epochs,
                seed=seed, do_no_harm=False, fit_adapter=fit_adapter, progress=True,
            )  # fmt: skip
        found[HEAD] = maxsim(
            head.queries(asked, gallery.source), head.gallery(gallery.pooled.target, pages)
        )
        verdicts = *verdicts, str(head.card["verdict"])
    return {name: scores.detach() for name, scores in found.items()}, verdicts


def measured(task: Task[TokenPairs], config: Config) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """``MEANS`` of every query in every draw by each system, ``(q, draws, 4)``; first verdicts."""
    values: dict[str, list[Tensor]] = {}
    verdicts: list[tuple[str, ...]] = []
    for seed in range(config.draws):
        order = torch.randperm(len(task.pool), generator=torch.Generator().manual_seed(seed))
        train = task.pool.take(order[: config.n])
        scores, said = scores_of(train, task.gallery, config, seed=seed)
        verdicts.append(said)
        for name, each in scores.items():
            values.setdefault(name, []).append(_values(each))
    return {name: torch.stack(each, dim=1) for name, each in values.items()}, verdicts[0]


def read(pages: Sequence[Document]) -> dict[str, Tensor]:
    """The same of systems that get the printed text itself, ``(q, 1, 4)``: nothing is fitted."""
    queries = [each.query for each in pages]
    printed = [" ".join(each.texts) for each in pages]
    store, text = EmbeddingStore(cache_folder() / "store"), load_encoder(MINILM)
    asked, held = (F.normalize(store.encode(text, each), dim=1) for each in (queries, printed))
    scores = {BM25: bm25_scores(queries, printed), COSINE: asked @ held.T}
    return {name: _values(each)[:, None] for name, each in scores.items()}


def _values(scores: Tensor) -> Tensor:
    codes = torch.arange(len(scores))
    return mean_values(rank_scores(scores, codes, codes).first)


def summarised(values: Mapping[str, Mapping[str, Tensor]], verdicts: Mapping[str, str]) -> Result:
    """The table of all values, by what is on the pages and by system."""
    lines = []
    for kind, by_system in values.items():
        for system, here in by_system.items():
            gain = None
            if kind == BOTH and system in values.get(PHOTO, {}):
                gain = _intervals(here - values[PHOTO][system])["recall_at_10"]
            lines.append(Line(kind, system, _intervals(here), gain))
    m = len(next(iter(next(iter(values.values())).values())))
    random = RandomOrder.of(torch.ones(m, dtype=torch.int64), m)
    chance = {f"recall_at_{k}": random.recall_at_k(k) for k in (1, 5, 10)}
    chance["mean_reciprocal_rank"] = random.mean_reciprocal_rank
    return Result(m, chance, tuple(lines), dict(verdicts))


def _intervals(values: Tensor) -> dict[str, Estimate]:
    found = intervals(values, torch.arange(len(values)), [len(values)])
    return dict(zip(MEANS, found, strict=True))


def run(config: Config) -> Result:
    """Make the pages, encode them kind after kind, and search."""
    pool, gallery = documents("train", config.pool), documents("dev", config.gallery)
    values: dict[str, dict[str, Tensor]] = {}
    verdicts = {}
    for kind in KINDS:
        values[kind], (verdict, *of_head) = measured(load(kind, pool, gallery), config)
        verdicts[kind] = verdict
        verdicts |= {f"{kind}, {HEAD}": each for each in of_head}
    values[PRINTED] = read(gallery)
    return summarised(values, verdicts)


def table() -> str:
    """Every line of the record, for a page."""
    try:
        return _table(read_record("document_pages")["result"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(result: Mapping[str, Any]) -> str:
    rows = [["chance", "", *(f"{100 * result['chance'][name]:.1f}" for name in SHOWN), ""]]
    for line in result["lines"]:
        metrics = [percent(line["metrics"][name]) for name in SHOWN]
        rows.append([line["pages"], line["system"], *metrics, percent(line["gain"])])
    header = ("on the page", "searched by", "R@1, %", "R@10, %", "MRR, %", "R@10 by the text, %")
    return markdown_table(header, rows, words=2)


def figure(result: Result, path: Path) -> None:
    """Recall at 10 of every line beside chance, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawn.add_subplot()
    names = [f"{line.pages}: {line.system}" for line in result.lines]
    found = [line.metrics["recall_at_10"] for line in result.lines]
    around = [
        [100 * (each.value - each.low) for each in found],
        [100 * (each.high - each.value) for each in found],
    ]
    axes.barh(names, [100 * each.value for each in found], xerr=around, capsize=2, color="#5B8DB8")
    chance = 100 * result.chance["recall_at_10"]
    axes.axvline(chance, color="black", linewidth=1, linestyle=":", label="chance")
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"recall at 10 among {result.gallery:,} pages, %")
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one draw of few pages, no record")
    told = parser.parse_args(arguments)
    config = Config(draws=told.draws)
    if told.quick:
        config = Config(n=100, pool=100, gallery=50, draws=1, head=(2, 4), epochs=1)
    result = run(config)
    print(_table(asdict(result)))
    print(*(f"{name}: {verdict}" for name, verdict in result.verdicts.items()), sep="\n")
    if not told.quick:
        figure(result, RESULTS / "document_pages.png")
        print(write_record("document_pages", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
