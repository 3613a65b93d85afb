"""Encoded data sets, each a pool to draw training pairs from and a gallery that is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from align.embeddings import PairedEmbeddings
from align.pairs import Pairs
from align.store import EmbeddingStore
from experiments.datasets import conala, django_pseudocode, emoji, flickr8k, stdlib_code
from experiments.datasets.folders import cache_folder, check_choice
from experiments.encoders import efficientnet_lite0, minilm

SPLIT_SEED = 0  # of the sets that bring no split; the gallery is the same in every run


@dataclass(frozen=True, slots=True)
class Task:
    """Pairs to train on and pairs to be judged by.

    Attributes:
        pool: Pairs from which training sets are drawn.
        gallery: Pairs of which nothing is ever trained on.
    """

    pool: PairedEmbeddings
    gallery: PairedEmbeddings


def load_task(name: str) -> Task:
    """A task of ``TASKS``, its vectors taken from the store in the cache folder where known.

    Captions and code go through MiniLM, pictures through EfficientNet-Lite0.

    Raises:
        ValueError: There is no such task.
        FileNotFoundError: Its data are not there.
    """
    check_choice("task", name, tuple(TASKS))
    return TASKS[name]()


def _flickr8k() -> Task:
    """First captions and photos: 6,000 for training, 1,000 of ``dev`` as gallery."""
    return Task(_with_pictures(flickr8k("train")), _with_pictures(flickr8k("dev")))


def _emoji() -> Task:
    """Names with keywords and pictures; three in ten, with all their variants, held out."""
    pool, gallery = _with_pictures(emoji()).split(test=0.3, seed=SPLIT_SEED)
    return Task(pool, gallery)


def _django_pseudocode() -> Task:
    """Pseudo-code and lines of Python, in the usual split."""
    return Task(_both_as_text(django_pseudocode("train")), _both_as_text(django_pseudocode("dev")))


def _conala() -> Task:
    """Intents and snippets; three questions in ten held out."""
    pool, gallery = _both_as_text(conala()).split(test=0.3, seed=SPLIT_SEED)
    return Task(pool, gallery)


def _stdlib_code() -> Task:
    """Docstrings and functions; a fifth, whole modules at a time, held out.

    Modules are groups only for this split. A function is no answer to the docstring of another
    one in its module, so from then on each pair is its own group.
    """
    pool, gallery = _both_as_text(stdlib_code()).split(test=0.2, seed=SPLIT_SEED)
    return Task(replace(pool, groups=pool.ids), replace(gallery, groups=gallery.ids))


def _with_pictures(pairs: Pairs) -> PairedEmbeddings:
    return pairs.encode(minilm(), efficientnet_lite0(), store=_store(), progress=True)


def _both_as_text(pairs: Pairs) -> PairedEmbeddings:
    encoder = minilm()
    return pairs.encode(encoder, encoder, store=_store(), progress=True)


def _store() -> EmbeddingStore:
    return EmbeddingStore(cache_folder() / "embeddings")


TASKS: Mapping[str, Callable[[], Task]] = {
    "flickr8k": _flickr8k,
    "emoji": _emoji,
    "django_pseudocode": _django_pseudocode,
    "conala": _conala,
    "stdlib_code": _stdlib_code,
}
