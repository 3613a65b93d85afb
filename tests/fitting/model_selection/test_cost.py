"""What a fit costs in operations: a promise of seconds that does not depend on the machine."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection import outcome
from align.fitting.model_selection.fit import fit
from tests.helpers.planted import shared_factors

NARROW, WIDE = 6, 9


class Counted:
    """How often each operation ran, by the shape of its first argument."""

    def __init__(self, monkeypatch):
        self.calls: dict[str, Counter[tuple[int, ...]]] = {}
        for owner, name in (
            (torch.linalg, "eigh"),
            (torch.linalg, "svd"),
            (outcome, "mutual_products"),
        ):
            self._watch(monkeypatch, owner, name)

    def _watch(self, monkeypatch, owner, name):
        run, seen = getattr(owner, name), self.calls.setdefault(name, Counter())

        def counted(first, *rest, **options):
            seen[tuple(first.shape)] += 1
            return run(first, *rest, **options)

        monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


def fitted(**options):
    pairs = shared_factors(1500, (NARROW, WIDE), shared=4, noise=0.7)
    return fit(PairedEmbeddings.from_arrays(*pairs), progress=False, **options)


def test_each_side_is_decomposed_once_per_fold_and_root_and_never_with_its_rows(counted):
    adapter = fitted(effort="fast")
    searched = [c for c in adapter.card.candidates if c.stage == "map"]
    rooted = len([c for c in searched if "after root" in c.name])
    assert rooted >= 2 and adapter.card.folds == (5, 1)
    screening = 2  # folds of 300 queries
    folds = 5 + 1  # and all rows
    # The wide side: once per fold, and on the screening folds once more for its signed root.
    assert counted.calls["eigh"][WIDE, WIDE] == folds + screening
    # The narrow side likewise, and once per pair of ridges that is looked at on a fold.
    problems = counted.calls["eigh"][NARROW, NARROW] - (folds + screening)
    ridges = {name.split(", power")[0] for name in (c.name for c in searched) if "rcca" in name}
    # Averages are screened at three ridges, and the best decomposed on five folds and on all rows.
    assert problems <= screening * (len(ridges) + 1 + rooted + 3) + 3 * 4 + 5 + folds
    assert set(counted.calls["eigh"]) == {(WIDE, WIDE), (NARROW, NARROW)}


def test_singular_vectors_are_for_what_is_not_found_otherwise(counted):
    adapter = fitted(effort="fast")
    names = [c.name for c in adapter.card.candidates if c.stage in ("final", "average")]
    others = any("pls" in name or "procrustes" in name for name in names)
    averaged = any(c.stage == "average" for c in adapter.card.candidates)
    # PLS and Procrustes share those of a fold: two screening folds, and where they come further the
    # other three. An average needs those of its RCCA on five folds. The best map, an RCCA, needs
    # its own on five folds and on all rows.
    assert adapter.card.method.startswith("rcca")
    assert counted.calls["svd"][NARROW, WIDE] == 2 + 3 * others + 5 * averaged + 5 + 1


def test_one_product_ranks_both_directions_of_a_candidate(counted):
    adapter = fitted(effort="fast")
    stages = Counter(c.stage for c in adapter.card.candidates)
    assert stages["final"] == 4 and stages["map"] > 20 and stages["hubness"] == 7
    products = counted.calls["mutual_products"]
    # Each map once on two screening folds, each finalist on three more. Averages are screened by
    # the products of their members, Procrustes and RCCA at three ridges at most; the best of them
    # is tried on five folds, if at all. One more per fold serves all corrections, and one the
    # gallery without.
    rest = sum(products.values()) - (2 * stages["map"] + 3 * 4 + 5 * stages["average"] + 5 + 5)
    assert rest in (2 * 2, 2 * 3, 2 * 4)


def test_training_on_top_decomposes_each_pair_of_folds_once(counted):
    fitted(effort="fast")
    plain = counted.calls["eigh"][WIDE, WIDE]
    counted.calls["eigh"].clear()
    adapter = fitted(effort="fast", refine=True)
    assert "refine" in {c.stage for c in adapter.card.candidates}
    # Without two of five folds there are four that leave out the first and another, three more that
    # leave out the second, and two the third. Where the first shows that it is no use, only four.
    assert counted.calls["eigh"][WIDE, WIDE] - plain in (4, 9)
