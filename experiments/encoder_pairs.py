"""Pairs of frozen encoders, and of layers, on the same data: the cells of a study of probes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from torch import Tensor

from align._files.cache import cache_folder
from align.data.embeddings import PairedEmbeddings
from align.data.encoding import parts_of
from align.data.pairs import Pairs
from align.data.sides import Side
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from experiments.tasks import BOTH_LITES, MINILM, PACKAGED, UNIVERSAL, load_task, raw_task

WORDLLAMA, LAYER_0 = "text:wordllama", "text:minilm?layer=0&pooling=mean"
TEXT_ENCODERS = (MINILM, LAYER_0, UNIVERSAL, WORDLLAMA)
TEXTS = ("conala", "django_pseudocode", "en_fr")
PHOTOS = "flickr8k_packaged"
DATA = (PHOTOS, *TEXTS)
POOL = 3000  # of the texts, which are encoded four times


@dataclass(frozen=True, slots=True)
class EncoderPair:
    """Two encoders on one data set.

    Attributes:
        data: Name of the task.
        source: Of the sources, in words.
        target: Of the targets.
        pool: Pairs to draw from.
        gallery: Pairs held out.
    """

    data: str
    source: str
    target: str
    pool: PairedEmbeddings
    gallery: PairedEmbeddings

    @property
    def name(self) -> str:
        """Both encoders."""
        return f"{self.source} → {self.target}"

    @property
    def slug(self) -> str:
        """A name for a file."""
        return hashlib.sha256(f"{self.data} {self.name}".encode()).hexdigest()[:16]


def encoder_pairs(data: Sequence[str] = DATA) -> Iterator[EncoderPair]:
    """Every pair of encoders on each data set, from the store of the cache folder where known.

    Photos: five encoders of text beside two of images. Texts: three encoders beside each other, and
    the input layer of one beside itself.
    """
    for name in data:
        if name == PHOTOS:
            yield from _parts()
        else:
            yield from _texts(name)


def _parts() -> Iterator[EncoderPair]:
    """Each part of the captions beside each part of the photos."""
    task = load_task(PHOTOS)
    columns = [
        [
            (spec, slice(start, stop))
            for spec, (start, stop) in zip(whole.split("+"), pairwise(_edges(whole)), strict=True)
        ]
        for whole in (PACKAGED, BOTH_LITES)
    ]
    for (source, left), (target, right) in product(*columns):

        def only(
            pairs: PairedEmbeddings, left: slice = left, right: slice = right
        ) -> PairedEmbeddings:
            return PairedEmbeddings.from_arrays(
                pairs.source[:, left], pairs.target[:, right], ids=pairs.ids, groups=pairs.groups
            )

        yield EncoderPair(
            PHOTOS, _short(source), _short(target), only(task.pool), only(task.gallery)
        )


def _edges(spec: str) -> tuple[int, ...]:
    widths = parts_of(load_encoder(spec))
    assert widths is not None
    edges = [0]
    for width in widths:
        edges.append(edges[-1] + width)
    return tuple(edges)


def _texts(name: str) -> Iterator[EncoderPair]:
    raw = raw_task(name)
    pool = raw.pool.take(range(min(POOL, len(raw.pool))))
    sides = {
        spec: [
            (_encoded(part, spec, "source"), _encoded(part, spec, "target"))
            for part in (pool, raw.gallery)
        ]
        for spec in TEXT_ENCODERS
    }
    for source, target in product(TEXT_ENCODERS, repeat=2):
        if LAYER_0 in (source, target) and source != target:
            continue
        parts = [
            PairedEmbeddings.from_arrays(
                sides[source][at][0], sides[target][at][1], ids=part.ids, groups=part.groups
            )
            for at, part in enumerate((pool, raw.gallery))
        ]
        yield EncoderPair(name, _short(source), _short(target), *parts)


def _encoded(pairs: Pairs, spec: str, side: Side) -> Tensor:
    store = EmbeddingStore(cache_folder() / "store")
    return store.encode(load_encoder(spec), list(getattr(pairs, side)), progress=False)


def _short(spec: str) -> str:
    return spec.partition(":")[2].replace("?layer=0&pooling=mean", ", input layer")
