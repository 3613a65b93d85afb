"""A gallery small enough to know every answer: colours, drawn, named, and written as code."""

from __future__ import annotations

import io
import re

import numpy as np
import torch
from PIL import Image

from align import CallableEncoder, Embeddings, Index
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.adapters.multi_vector.aspects import Heads
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.apps.serving.contents import Shown
from align.apps.serving.gallery import Gallery
from align.data.sides import SIDE_NAMES
from align.retrieval.retriever import Retriever

BASE = "http://127.0.0.1:8765"
"""Where test clients think that the page lies."""

COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 230),
    "yellow": (230, 220, 20),
    "purple": (200, 20, 200),
    "white": (250, 250, 250),
}


def colour_vector(rgb):
    return torch.tensor([*rgb, 40.0]) / 255


def read(text):
    """The mean colour of the words that name one; another text is a dim grey."""
    named = [colour_vector(COLOURS[word]) for word in re.findall("[a-z]+", text) if word in COLOURS]
    return torch.stack(named).mean(dim=0) if named else colour_vector((9, 9, 9))


def look(item):
    image = item if isinstance(item, Image.Image) else Image.open(item)
    return colour_vector(np.asarray(image.convert("RGB"), dtype=float).mean(axis=(0, 1)))


class Noting:
    """A function of one item that notes what it was given."""

    def __init__(self, function):
        self.function, self.seen = function, []

    def __call__(self, items):
        self.seen += items
        return torch.stack([self.function(item) for item in items]).float()


def encoders(*, wide=False):
    """Of texts and of pictures, into one space; ``wide`` pictures have another width."""
    reader, looker = Noting(read), Noting(look)
    if wide:
        looker = Noting(lambda item: torch.cat([look(item), torch.zeros(2)]))
    return (
        CallableEncoder(reader, name="colour words", dim=4),
        CallableEncoder(looker, name="mean colour", dim=6 if wide else 4, modality="image"),
    )


def words():
    """The encoder of texts, for the command line."""
    return encoders()[0]


def pictures():
    """The encoder of pictures, likewise."""
    return encoders()[1]


class FirstColumns(torch.nn.Module):
    """A map that leaves columns out, as an adapter between two widths must."""

    d_in, dim = 6, 4

    def forward(self, x):
        return torch.nn.functional.normalize(x[:, :4], dim=1)


def draw(folder):
    """A picture of each colour as a file; their paths by colour."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, rgb in COLOURS.items():
        paths[name] = folder / f"{name}.png"
        Image.new("RGB", (600, 300), rgb).save(paths[name])
    return paths


def as_bytes(colour, kind="PNG"):
    held = io.BytesIO()
    Image.new("RGB", (80, 60), COLOURS.get(colour, colour)).save(held, format=kind)
    return held.getvalue()


def colours_index(folder, *, wide=False, several=False, paths=None, side_names=SIDE_NAMES):
    """Pictures in an index that texts search, and the encoders of both sides."""
    reader, looker = encoders(wide=wide)
    target = FirstColumns() if wide else IdentityMap(4)
    card = Card("identity", 1, 4, 6 if wide else 4, side_names=side_names)
    adapter = Adapter(IdentityMap(4), target, card)
    head = MetaTokens(adapter, *_aspects(), mix=0.5, asking=4, card={}) if several else adapter
    paths = draw(folder / "photos") if paths is None else paths
    index = Index.create(folder / "idx", head)
    ids = [f"id/{name}" for name in paths]
    rows = Embeddings(looker.encode(list(paths.values())), looker.fingerprint, tuple(ids))
    found = head.gallery(rows) if several else rows
    index.add(ids, found, metadata=[{"path": str(p)} for p in paths.values()], modality="image")
    return index, reader, looker


def _aspects():
    rng = torch.Generator().manual_seed(0)
    return [Heads(torch.zeros(4), torch.randn(3, 4, 5, generator=rng)) for _ in range(2)]


def gallery(folder, **options):
    """A gallery of pictures; ``paths``, ``wide`` and their like are those of the index."""
    names = ("paths", "wide", "several", "side_names")
    of_index = {name: options.pop(name) for name in names if name in options}
    index, reader, looker = colours_index(folder, **of_index)
    most = {name: options.pop(name) for name in ("most_queries",) if name in options}
    return Gallery(Retriever(index, source=reader, target=looker), shown=Shown(**options), **most)


TEXTS = {
    "plain": ("text", "a red and a blue thing"),
    "markup": ("text", "<img src=x onerror=alert(1)> green <script>alert(2)</script>"),
    "long": ("text", "white " * 400),
    "code": ("code", "def paint():\n    return 'blue'"),
}


def texts_gallery(folder):
    """Texts and code, searched by texts of the same encoder: no picture anywhere."""
    kinds, texts = zip(*TEXTS.values(), strict=True)
    return _of_texts(folder, list(TEXTS), texts, kinds)


def many_texts(folder):
    """Sixty texts, more than a page shows at once."""
    texts = [f"text {row} is {list(COLOURS)[row % 6]}" for row in range(60)]
    return _of_texts(folder, [str(row) for row in range(60)], texts, "text")


def _of_texts(folder, ids, texts, kinds):
    reader = words()
    adapter = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    index = Index.create(folder / "idx", adapter)
    rows = Embeddings(reader.encode(texts), reader.fingerprint, tuple(ids))
    index.add(ids, rows, metadata=[{"text": text} for text in texts], modality=kinds)
    return Gallery(Retriever(index, source=reader, target=reader))
