"""Photos, code and captions in one gallery, all asked for in words: pairs of three kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from align._files.cache import cache_folder
from align.data.embeddings import PairedEmbeddings
from align.data.modality import Modality
from align.data.pairs import Pairs
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from experiments.datasets import flickr8k, stdlib_code
from experiments.tasks import SPLIT_SEED, Task

INSTRUCTIONS: Mapping[str, str] = {
    "image": "Find a photo that shows this.",
    "code": "Find the function that this docstring describes.",
    "text": "Find another caption of the same photo.",
}
KINDS = tuple(INSTRUCTIONS)
"""What is looked for."""

HELD_OUT = 500
"""Pairs of each kind in the gallery."""


def load_mixed() -> Task[PairedEmbeddings]:
    """Captions to photos, docstrings to functions, and captions to captions of the same photo.

    Sources are MiniLM's vectors of texts. Targets are block vectors of a ``MixedEncoder``: photos
    through EfficientNet-Lite0, functions and captions through MiniLM. Half of the photos of each
    split of Flickr8k are targets themselves, the captions of the other half are, so that a query
    has one right answer among all targets. Captions of the same photo, rather than translations,
    since both sides are then in the language that MiniLM knows, and since nothing in such a query
    tells it from one for a photo: only an instruction does.

    The gallery holds ``HELD_OUT`` pairs of each kind, of photos and of modules that are not in the
    pool.

    Raises:
        FileNotFoundError: The data of Flickr8k are not there.
    """
    pool_code, gallery_code = stdlib_code().split(test=0.2, seed=SPLIT_SEED)
    pool = _encoded({**_captioned("train"), "code": pool_code})
    gallery = _encoded({**_captioned("dev"), "code": gallery_code})
    return Task(pool, draw(gallery, dict.fromkeys(KINDS, HELD_OUT), seed=SPLIT_SEED))


def draw(pool: PairedEmbeddings, counts: Mapping[str, int], *, seed: int) -> PairedEmbeddings:
    """So many pairs of each kind, without replacement; the first of more are those of fewer.

    Raises:
        ValueError: The pool has fewer pairs of a kind.
    """
    generator = torch.Generator().manual_seed(seed)
    picked = []
    for kind, count in counts.items():
        rows = rows_of(pool, kind)
        if not 1 <= count <= len(rows):
            raise ValueError(
                f"the number of pairs of {kind} must lie in [1, {len(rows)}], those of the pool; "
                f"got {count}. Ask for a number in that range."
            )
        picked.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
    return pool.take(torch.cat(picked))


def rows_of(pairs: PairedEmbeddings, kind: str) -> Tensor:
    """Rows whose targets are of one kind, int64."""
    assert pairs.target_modality is not None
    return (pairs.target_modality == Modality.parse(kind)).nonzero().flatten()


def only(pairs: PairedEmbeddings, kind: str) -> PairedEmbeddings:
    """The pairs of one kind, their targets without the blocks of the others."""
    kept = pairs.take(rows_of(pairs, kind))
    assert kept.target_parts is not None
    blocks = torch.split(kept.target, list(kept.target_parts), dim=1)
    return replace(
        kept, target=blocks[KINDS.index(kind)], target_parts=None, target_fingerprint=None
    )


def _captioned(split: Literal["train", "dev"]) -> dict[str, Pairs]:
    """Every other photo with a caption, and two captions of each of the others."""
    two = flickr8k(split, captions=2)
    first, second = two.take(range(0, len(two), 2)), two.take(range(1, len(two), 2))
    even, odd = range(0, len(first), 2), range(1, len(first), 2)
    captions = replace(first.take(odd), target=second.take(odd).source)
    return {"image": first.take(even), "text": captions}


def _encoded(parts: Mapping[str, Pairs]) -> PairedEmbeddings:
    """The pairs of all kinds end to end, with their modalities and instructions.

    Modules keep functions together in splits, but a function is no answer to another's docstring.
    """
    kinds = [kind for kind in KINDS for _ in parts[kind].ids]

    def all_of(field: str) -> list[Any]:
        return [value for kind in KINDS for value in getattr(parts[kind], field)]

    ids = [f"{kind}/{name}" for kind, name in zip(kinds, all_of("ids"), strict=True)]
    pairs = Pairs.from_lists(
        all_of("source"),
        all_of("target"),
        ids=ids,
        source_modality=["text"] * len(kinds),
        target_modality=kinds,
        instructions=[INSTRUCTIONS[kind] for kind in kinds],
    )
    encoder = load_encoder("image=image:efficientnet-lite0;code=text:minilm;text=text:minilm")
    store = EmbeddingStore(cache_folder() / "store")
    found = pairs.encode(load_encoder("text:minilm"), encoder, store=store, progress=True)
    return replace(found, domains=tuple(all_of("groups")))
