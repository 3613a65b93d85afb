"""Why an item was found: its score taken apart along the directions of the shared space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align._checks import check_at_least, check_length, check_side
from align.adapters.adapter import Adapter
from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors, as_tensor
from align.data.sides import Side, other_side
from align.retrieval.explanation.values import DirectionTerm, Explanation, PairTerm

ENDS = 3  # training pairs named at each end of a direction
_SAME = 1e-4  # rows whose two cosines fall short of 1 by less are of one pair


@torch.inference_mode()
def explain(
    adapter: Adapter,
    query: Vectors,
    item: Vectors,
    *,
    side: Side = "source",
    pairs: PairedEmbeddings | None = None,
    names: Sequence[str] | None = None,
    top: int = 10,
) -> Explanation:
    """Why an item was found: the directions and the training pairs behind its score.

    The score of one vector is an inner product, so it is a sum over the directions of the shared
    space, ``q_i z_i``. Of canonical correlation analysis those are the canonical directions. To
    this the expansion of the gallery, the hubness correction and a preference add their own terms.
    All terms add up to the score. A score is spread over many directions: see how much those that
    are listed add. Directions of other maps, as of Procrustes or the raw cosine, are coordinates
    of an encoder, and mean little one by one.

    Which training pairs make a map score a pair high has no exact answer: it is fitted on all of
    them together. Shown are those that are most like both, ``cos(query, its item) cos(item, its
    partner)``: what is known to go together and looks like this. Only what the expansion
    took from each adds to the score, and that is exact.

    Args:
        adapter: The adapter.
        query: Raw vector of what was asked, ``(d_side,)`` or ``(1, d_side)``.
        item: Raw vector of what was found, ``(d_other,)`` or ``(1, d_other)``.
        side: The side that asks.
        pairs: The training pairs, or some of them, to name what lies at the ends of directions and
            what is like both. An adapter keeps no names; of one with a correction the pairs it
            keeps for it are numbered if this is left out.
        names: A text for each of ``pairs``, such as its caption; their ids if left out.
        top: Directions, and pairs, to list.

    Raises:
        ValueError: The adapter refuses a vector, a side or the pairs, there is not one vector,
            ``top`` is below 1, or there is not one name for each of ``pairs``.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions @ rng.standard_normal((8, 12))
        >>> pairs = align.PairedEmbeddings.from_arrays(captions, photos)
        >>> adapter = align.fit(pairs, effort="fast")
        >>> found = align.explain(adapter, captions[3], photos[3], pairs=pairs)
        >>> found.pairs[0].name
        '3'
    """
    check_side(side)
    asked, found = _one("query", query), _one("item", item)
    other = other_side(side)
    vectors = adapter.queries(asked, side=side)[0], adapter.gallery(found, side=other)[0]
    bare = in_shared_space(adapter, asked, side)[0], in_shared_space(adapter, found, other)[0]
    known = known_pairs(adapter, pairs, names)
    return explain_vectors(adapter, *vectors, bare, side=side, known=known, top=top)


def in_shared_space(adapter: Adapter, rows: Vectors, side: Side) -> Tensor:
    """Raw vectors of a side in the shared space, unit norm, ``(n, dim)``."""
    return adapter.source(rows) if side == "source" else adapter.target(rows)


@dataclass(frozen=True, slots=True, eq=False)
class KnownPairs:
    """Training pairs in the shared space, unit norm, ``(n, dim)`` each, and their names."""

    source: Tensor
    target: Tensor
    names: Sequence[str]

    def side(self, side: Side) -> Tensor:
        """The items of one side."""
        return self.source if side == "source" else self.target


def known_pairs(
    adapter: Adapter, pairs: PairedEmbeddings | None, names: Sequence[str] | None = None
) -> KnownPairs | None:
    """Pairs as ``explain`` takes them, or those that the adapter keeps, numbered."""
    if pairs is not None:
        called = pairs.ids if names is None else names
        check_length("names", called, len(pairs))
        source = adapter.source(Embeddings(pairs.source, pairs.source_fingerprint, pairs.ids))
        target = adapter.target(Embeddings(pairs.target, pairs.target_fingerprint, pairs.ids))
        return KnownPairs(source, target, called)
    if names is not None:
        raise ValueError(
            "names are those of pairs; got names without pairs. Pass the training pairs as well."
        )
    kept = adapter.reference
    if kept is None:
        return None
    numbered = [f"kept pair {row}" for row in range(kept.rows)]
    return KnownPairs(kept.source_reference, kept.target_reference, numbered)


def explain_vectors(
    adapter: Adapter,
    query: Tensor,
    stored: Tensor,
    bare: tuple[Tensor, Tensor] | None,
    *,
    side: Side,
    known: KnownPairs | None,
    top: int = 10,
) -> Explanation:
    """``explain`` of a query vector and a gallery vector, ``(d_search,)`` each.

    ``bare`` are both in the shared space before anything was expanded, ``(dim,)`` each, or ``None``
    where the raw vector of the item is not known.
    """
    check_at_least("top", top, 1)
    dim, kept = adapter.dim, adapter.reference
    products = query.double() * stored.double()
    corrected = kept is not None and kept.hubness is not None
    moved = query[:dim], stored[:dim]
    asks, found = moved if bare is None or kept is None else bare
    along = asks.double() * found.double()
    listed = along.abs().argsort(descending=True, stable=True)[:top]
    expansion: float | None = (products[:dim].sum() - along.sum()).item()
    if bare is None and kept is not None and kept.expansion is not None:
        expansion = None
    pairs: tuple[PairTerm, ...] = ()
    if known is not None:
        added = None if bare is None else _added(adapter, moved[0], found, side)
        pairs = _pair_terms(adapter, (asks, found), known, added, side, top)
    return Explanation(
        score=products.sum().item(),
        directions=tuple(
            _direction(row, along[row], asks[row], found[row], known) for row in listed.tolist()
        ),
        rest=(along.sum() - along[listed].sum()).item(),
        dim=dim,
        expansion=expansion,
        hubness=products[dim : dim + corrected].sum().item(),
        preference=products[dim + corrected :].sum().item(),
        pairs=pairs,
    )


def _direction(
    row: int, value: Tensor, query: Tensor, item: Tensor, known: KnownPairs | None
) -> DirectionTerm:
    numbers = value.item(), query.item(), item.item()
    if known is None or len(known.names) < 3:
        return DirectionTerm(row, *numbers)
    x, y = known.source[:, row].double(), known.target[:, row].double()
    correlation = torch.corrcoef(torch.stack([x, y]))[0, 1].nan_to_num().item()
    # Towards the end at which the query lies; pairs of which both items lie there.
    out = (torch.minimum if query >= 0 else torch.maximum)(x, y)
    back = (torch.maximum if query >= 0 else torch.minimum)(x, y)
    sign = 1 if query >= 0 else -1
    near = (sign * out).argsort(descending=True, stable=True)[:ENDS].tolist()
    far = (sign * back).argsort(stable=True)[:ENDS].tolist()
    ends = (tuple(str(known.names[at]) for at in rows) for rows in (near, far))
    return DirectionTerm(row, *numbers, correlation, *ends)


def _pair_terms(
    adapter: Adapter,
    bare: tuple[Tensor, Tensor],
    known: KnownPairs,
    added: Tensor | None,
    side: Side,
    top: int,
) -> tuple[PairTerm, ...]:
    """The pairs of the largest product of two cosines above 0.

    ``added`` is what the expansion took from each pair that the adapter keeps.
    """
    query = known.side(side) @ bare[0]
    item = known.side(other_side(side)) @ bare[1]
    product = query.clamp_min(0) * item.clamp_min(0)
    rows = product.argsort(descending=True, stable=True)[:top]
    rows = rows[product[rows] > 0]
    of_each = torch.zeros(len(rows), dtype=torch.float64)
    kept = adapter.reference
    if added is not None and kept is not None:
        alike = known.source[rows] @ kept.source_reference.T
        alike += known.target[rows] @ kept.target_reference.T
        nearest = alike.max(dim=1)
        of_each = added[nearest.indices].where(nearest.values > 2 - _SAME, 0.0)
    return tuple(
        PairTerm(str(known.names[row]), query[row].item(), item[row].item(), more)
        for row, more in zip(rows.tolist(), of_each.tolist(), strict=True)
    )


def _added(adapter: Adapter, query: Tensor, item: Tensor, side: Side) -> Tensor | None:
    """What the expansion of the item took from each pair that the adapter keeps, ``(rows,)``.

    ``norm(z + w norm(s @ other))`` is linear in ``other`` once its two norms are known, so that
    each pair has its part of the inner product with the query, which may be expanded too.
    """
    kept = adapter.reference
    if kept is None or kept.expansion is None:
        return None
    own, other = kept.target_reference, kept.source_reference
    if side == "target":
        own, other = other, own
    z, other = item.double(), other.double()
    shares = torch.softmax(kept.expansion.sharpness * (own.double() @ z), dim=0)
    shares = kept.expansion.weight * shares / torch.linalg.vector_norm(shares @ other)
    shares = shares / torch.linalg.vector_norm(z + shares @ other)
    added: Tensor = shares * (other @ query.double())
    return added


def _one(name: str, vector: Vectors) -> Vectors:
    """One row of the vectors of an encoder."""
    if isinstance(vector, Embeddings):
        rows = vector.vectors
    else:
        rows = as_tensor(vector, name=name)
        rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != 1:
        raise ValueError(
            f"one {name} is explained at a time; got vectors of shape {tuple(rows.shape)}. Pass "
            "one row, (d,) or (1, d)."
        )
    return vector if isinstance(vector, Embeddings) else rows
