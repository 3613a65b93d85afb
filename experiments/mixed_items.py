"""Photos, code, texts, photos with their captions, and clips in one gallery: pairs of five kinds.

Every item is an ``align.Composite``, and one ``align.CompositeEncoder`` holds them all: a photo is
an item of one part, a photo with its caption one of two. That is simpler than a ``MixedEncoder``,
which has a block of columns, and so a map, for each kind: a photo with a caption would need a third
block, whose maps learn nothing from photos and captions alone. A clip has a part of its own, the
mean of its frames by a ``VideoEncoder``; or, since a frame is a picture, that mean stands in the
part of photos (``as_photos``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from align._files.cache import cache_folder
from align.adapters.maps.parts import present
from align.data.composite import Composite
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import CompositeEncoder
from align.encoders.spec import load_encoder
from experiments.datasets import flickr8k, stdlib_code
from experiments.datasets.clips import make_clips
from experiments.mixed import draw, rows_of
from experiments.tasks import LITE0, MINILM, SPLIT_SEED, Task

KINDS: Mapping[str, str] = {
    "image": "photo",
    "code": "code",
    "text": "text",
    "image|text": "photo and caption",
    "video": "clip",
}
"""Kinds of item, as a modality and in words."""

PARTS: Mapping[str, str] = {
    "photo": LITE0,
    "code": MINILM,
    "caption": MINILM,
    "clip": f"video:{LITE0}",
}
"""Parts of an item, and the encoder of each; a clip's takes the mean of eight frames."""

SHOTS, CLIPS, HELD_OUT = 4, 80, 300


def load_items() -> Task[PairedEmbeddings]:
    """Pairs of all kinds; a clip is in one for each of its captions, and those are a group.

    The first photos of ``train`` become clips, half for the pool and half for the gallery. The
    others serve a kind each in the pool, and those of ``dev`` in the gallery, which holds
    ``HELD_OUT`` pairs of each kind but clips. Functions are of modules that are not in the pool.

    Raises:
        FileNotFoundError: The data of Flickr8k are not there.
    """
    first, second = _two_captions("train")
    photos, half = 2 * CLIPS * SHOTS, CLIPS * SHOTS
    clips = _of_clips(first.take(range(photos)))
    rest = range(photos, len(first))
    codes = stdlib_code().split(test=0.2, seed=SPLIT_SEED)
    pool, gallery = (
        encoded({
            **_of_photos(*pair),
            "code": replace(code, target=tuple(Composite({"code": x}) for x in code.target)),
            "video": clips.take(rows),
        })
        for pair, code, rows in zip(
            ((first.take(rest), second.take(rest)), _two_captions("dev")),
            codes,
            (range(half), range(half, photos)),
            strict=True,
        )
    )  # fmt: skip
    return Task(pool, draw(gallery, counts_of(gallery, HELD_OUT), seed=SPLIT_SEED))


def counts_of(pairs: PairedEmbeddings, n: int) -> dict[str, int]:
    """``n`` pairs of each kind, and all of clips."""
    return {**dict.fromkeys(KINDS, n), "video": len(rows_of(pairs, "video"))}


def _two_captions(split: Literal["train", "dev"]) -> tuple[Pairs, Pairs]:
    two = flickr8k(split, captions=2)
    return two.take(range(0, len(two), 2)), two.take(range(1, len(two), 2))


def _of_photos(first: Pairs, second: Pairs) -> dict[str, Pairs]:
    """First captions, and the photo, another caption or both, of a third of the photos each."""
    parts: dict[str, Pairs] = {}
    for at, (kind, names) in enumerate(
        {"image": ["photo"], "text": ["caption"], "image|text": ["photo", "caption"]}.items()
    ):
        rows = range(at, len(first), 3)
        asked, other = first.take(rows), second.take(rows)
        whole = [
            {"photo": photo, "caption": caption}
            for photo, caption in zip(asked.target, other.source, strict=True)
        ]
        items = [Composite({name: each[name] for name in names}) for each in whole]
        parts[kind] = replace(asked, target=tuple(items))
    return parts


def _of_clips(pairs: Pairs) -> Pairs:
    """Captions, and the clip that the photo of each is a shot of."""
    made = make_clips(list(pairs.target), cache_folder() / "clips" / "train", shots=SHOTS)
    paths = [clip.path for clip in made for _ in clip.shots]
    return replace(
        pairs,
        target=tuple(Composite({"clip": path}) for path in paths),
        groups=tuple(path.stem for path in paths),
    )


def encoded(parts: Mapping[str, Pairs]) -> PairedEmbeddings:
    """The pairs of all kinds end to end, through MiniLM and one encoder of composite items.

    Clips alone are right for several queries; photos and modules only keep folds apart.
    """
    kinds = [kind for kind in KINDS for _ in parts[kind].ids]

    def all_of(field: str) -> list[Any]:
        return [value for kind in KINDS for value in getattr(parts[kind], field)]

    ids = [f"{kind}/{name}" for kind, name in zip(kinds, all_of("ids"), strict=True)]
    domains = all_of("groups")
    pairs = Pairs.from_lists(
        all_of("source"),
        all_of("target"),
        ids=ids,
        groups=[
            domain if kind == "video" else name
            for kind, domain, name in zip(kinds, domains, ids, strict=True)
        ],
        target_modality=kinds,
    )
    encoder = CompositeEncoder({name: load_encoder(spec) for name, spec in PARTS.items()})
    store = EmbeddingStore(cache_folder() / "store")
    found = pairs.encode(load_encoder(MINILM), encoder, store=store, progress=True)
    return replace(found, domains=tuple(domains))


def as_photos(pairs: PairedEmbeddings) -> PairedEmbeddings:
    """The pairs with the vectors of clips in the part of photos, which clips lack."""
    photo, code, caption, clip = _blocks(pairs)
    return _of_blocks(pairs, [photo + clip, code, caption])


def alone(pairs: PairedEmbeddings, kind: str) -> PairedEmbeddings:
    """The pairs of one kind, their targets without the parts that it lacks."""
    kept = pairs.take(rows_of(pairs, kind))
    return _of_blocks(kept, [block for block in _blocks(kept) if present(block).any()])


def _blocks(pairs: PairedEmbeddings) -> tuple[Tensor, ...]:
    assert pairs.target_parts is not None
    return torch.split(pairs.target, list(pairs.target_parts), dim=1)


def _of_blocks(pairs: PairedEmbeddings, blocks: Sequence[Tensor]) -> PairedEmbeddings:
    widths = tuple(block.shape[1] for block in blocks) if len(blocks) > 1 else None
    target = torch.cat(list(blocks), dim=1)
    return replace(pairs, target=target, target_parts=widths, target_fingerprint=None)


def items_of(gallery: PairedEmbeddings) -> PairedEmbeddings:
    """What is searched: the first pair of each group, so that each clip is there once."""
    first: dict[str, int] = {}
    for row, group in enumerate(gallery.groups):
        first.setdefault(group, row)
    return gallery.take(list(first.values()))
