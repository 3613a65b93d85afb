"""What words alone find: BM25 over a gallery of texts, and what an adapter misses beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.data.splits import group_codes
from align.integrations.bm25 import words
from align.metrics.estimates import Estimate
from align.metrics.evaluation import DistinctItems, Evaluation, evaluate, evaluate_ranks
from align.metrics.ranks import rank_scores

_CUTS = re.compile(
    r"_+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|[A-Za-z_]\w*|\d+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of an adapter's result words explain; shares in [0, 1].

    Attributes:
        bm25: Recall at 1 of words alone, mean of both directions.
        adapter: Recall at 1 of the adapter.
        both: Recall at 1 of the sum of both scores, each standardised over the gallery of a query.
        alike: Of the source queries that the adapter answers wrongly, the share in which right and
            found item are the same but for names, numbers and quoted texts.
        alike_at_random: The same for random other items in the place of the found ones.
        repeated: Share of targets whose text stands in the gallery more than once.
    """

    bm25: Estimate
    adapter: Estimate
    both: Estimate
    alike: float
    alike_at_random: float
    repeated: float


def split(text: str) -> list[str]:
    """Words in lower case; identifiers are cut at underscores, capitals and digits."""
    return words(_CUTS.sub(" ", text))


def skeleton(code: str) -> str:
    """A line of code with one sign for every name, number and quoted text."""
    return "".join(_NAMES.sub("#", code).split())


def bm25_scores(queries: Sequence[str], texts: Sequence[str]) -> Tensor:
    """Lucene's BM25 of every text for every query, ``(q, m)`` float32; 0 where no word is shared.

    Reference:
        Robertson and Zaragoza 2009, doi:10.1561/1500000019; bm25s, Lu 2024, arXiv:2407.03618.
    """
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([split(text) or ["\0"] for text in texts], show_progress=False)
    known = index.vocab_dict
    rows = [
        index.get_scores([word for word in split(query) if word in known])
        if any(word in known for word in split(query))
        else np.zeros(len(texts), dtype=np.float32)
        for query in queries
    ]
    return torch.from_numpy(np.stack(rows)).float()


def evaluate_bm25(gallery: PairedEmbeddings, items: Pairs) -> Evaluation:
    """Both directions by words alone; items that share no word with a query are tied, against it.

    Args:
        gallery: Says which items belong together.
        items: The texts, row-matched.
    """
    return evaluate_ranks(gallery, lambda *sides: _ranked(_bm25(items, *sides), *sides))


def overlap(gallery: PairedEmbeddings, items: Pairs, adapter: Adapter, *, seed: int = 0) -> Overlap:
    """Words alone, the adapter alone, both together, and what the adapter's misses look like."""
    hits: dict[str, tuple[Tensor, Tensor]] = {}

    def both(queries: DistinctItems, found: DistinctItems) -> Tensor:
        scores = _scores(adapter, queries, found)
        hits[queries.side] = scores.argmax(dim=1), found.rows
        lexical = _standardised(_bm25(items, queries, found))
        return _ranked(_standardised(scores) + lexical, queries, found)

    fused = evaluate_ranks(gallery, both)
    plain = evaluate(gallery, adapter)
    best, rows = hits["source"]
    codes = [skeleton(str(items.target[row])) for row in rows.tolist()]
    missed = (plain.source_to_target.ranks > 1).nonzero()[:, 0].tolist()
    right = plain.source_to_target.groups
    own = {int(code): at for at, code in reversed(list(enumerate(_codes(gallery, rows))))}
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(len(codes), (max(1, len(missed)),), generator=generator).tolist()
    alike = [codes[own[int(right[at])]] == codes[int(best[at])] for at in missed]
    random = [
        codes[own[int(right[at])]] == codes[other]
        for at, other in zip(missed, others, strict=False)
        if other != own[int(right[at])]
    ]
    texts = [str(items.target[row]) for row in rows.tolist()]
    counts = {text: texts.count(text) for text in set(texts)}
    return Overlap(
        evaluate_bm25(gallery, items).mean["recall_at_1"],
        plain.mean["recall_at_1"],
        fused.mean["recall_at_1"],
        sum(alike) / max(1, len(alike)),
        sum(random) / max(1, len(random)),
        sum(count for count in counts.values() if count > 1) / len(texts),
    )


def _codes(gallery: PairedEmbeddings, rows: Tensor) -> list[int]:
    codes = group_codes(gallery.groups)
    return [int(codes[row]) for row in rows.tolist()]


def _bm25(items: Pairs, queries: DistinctItems, gallery: DistinctItems) -> Tensor:
    sides = {"source": items.source, "target": items.target}
    asking, asked = (
        [str(sides[each.side][row]) for row in each.rows.tolist()] for each in (queries, gallery)
    )
    return bm25_scores(asking, asked)


def _scores(adapter: Adapter, queries: DistinctItems, gallery: DistinctItems) -> Tensor:
    with torch.inference_mode():
        asking = adapter.queries(queries.embeddings, side=queries.side)
        return asking @ adapter.gallery(gallery.embeddings, side=gallery.side).T


def _standardised(scores: Tensor) -> Tensor:
    spread = scores.std(dim=1, keepdim=True).clamp(min=1e-9)
    return (scores - scores.mean(dim=1, keepdim=True)) / spread


def _ranked(scores: Tensor, queries: DistinctItems, gallery: DistinctItems) -> Tensor:
    return rank_scores(scores, queries.codes, gallery.codes).first
