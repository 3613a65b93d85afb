"""``align.explain``: terms that add up to a score, and training pairs that are like both."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align._display.lines import LONGEST
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN, InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import Expansion, ReferenceSet

N, D, WIDE = 80, 6, 9
EXPANSION, HUBNESS = Expansion(0.7, 4.0), InvertedSoftmax(8.0)


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, D, generator=generator)
    y = x @ torch.randn(D, WIDE, generator=generator) + 0.3 * torch.randn(
        N, WIDE, generator=generator
    )
    return x, y


def adapter(expansion=EXPANSION, hubness=HUBNESS):
    x, y = data()
    plain = rcca(x, y)
    kept = None
    if expansion is not None or hubness is not None:
        kept = ReferenceSet(plain.source(x), plain.target(y), expansion=expansion, hubness=hubness)
    return plain.replaced(reference=kept)


def score(made, x, y, side="source"):
    """As an index computes it."""
    other = "target" if side == "source" else "source"
    return (made.queries(x[None], side=side) @ made.gallery(y[None], side=other).T).item()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(1, 10**6),
    expansion=st.none() | st.builds(Expansion, st.floats(0, 2), st.floats(0, 40)),
    hubness=st.none() | st.just(NNN(3, 0.5)) | st.builds(InvertedSoftmax, st.floats(0.5, 30)),
    side=st.sampled_from(["source", "target"]),
    top=st.integers(1, 20),
)
def test_the_terms_add_up_to_the_score(seed, expansion, hubness, side, top):
    made = adapter(expansion, hubness)
    x, y = (rows[0] for rows in data(seed))
    asks, found = (x, y) if side == "source" else (y, x)
    explained = align.explain(made, asks, found, side=side, top=top)
    assert explained.score == pytest.approx(score(made, asks, found, side), abs=2e-6)
    assert explained.total == pytest.approx(explained.score, abs=2e-6)
    assert explained.match == pytest.approx(
        (made.source(x[None]) @ made.target(y[None]).T).item(), abs=2e-6
    )
    assert all(each.value == pytest.approx(each.query * each.item) for each in explained.directions)
    sizes = [abs(each.value) for each in explained.directions]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == min(top, made.dim)


def test_a_preference_adds_its_own_term():
    weight = torch.tensor([[0.2, -0.1]])
    x, y = data()
    x = torch.cat([x, torch.ones(N, 1)], dim=1)  # the last column is an instruction
    preferring = rcca(x, y).replaced(preference=Preference(weight, [WIDE - 4, 4]))
    item = torch.cat([y[0, : WIDE - 4], torch.zeros(4)])
    found = align.explain(preferring, x[0], item)
    assert found.preference == pytest.approx(0.2, abs=1e-6)
    assert found.total == pytest.approx(found.score, abs=1e-6)


def test_what_the_expansion_took_from_each_pair_is_what_its_formula_says():
    x, y = data()
    made = adapter(hubness=None)
    pairs = align.PairedEmbeddings.from_arrays(x, y)
    found = align.explain(made, x[0], y[0], pairs=pairs, top=N)
    z, q = made.target(y[:1]).double()[0], made.source(x[:1]).double()[0]
    own, other = made.target(y).double(), made.source(x).double()
    partners = torch.softmax(4.0 * own @ z, dim=0)
    length = torch.linalg.vector_norm(partners @ other)
    moved = z + 0.7 * partners @ other / length
    for each in found.pairs:
        row = int(each.name)
        part = 0.7 * partners[row] / length * (other[row] @ q) / torch.linalg.vector_norm(moved)
        assert each.added == pytest.approx(part.item(), abs=1e-5)
    # All pairs together, and the item made shorter, are the expansion.
    everything = 0.7 * (partners @ other @ q) / length / torch.linalg.vector_norm(moved)
    shorter = (q @ z) * (1 / torch.linalg.vector_norm(moved) - 1)
    assert found.expansion == pytest.approx((everything + shorter).item(), abs=1e-5)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_training_pair_is_like_itself_and_named(side):
    x, y = data()
    pairs = align.PairedEmbeddings.from_arrays(x, y)
    asks, found = (x[7], y[7]) if side == "source" else (y[7], x[7])
    names = [f"caption {row}" for row in range(N)]
    explained = align.explain(adapter(), asks, found, side=side, pairs=pairs, names=names)
    first = explained.pairs[0]
    assert first.name == "caption 7"
    assert (first.query, first.item) == pytest.approx((1, 1), abs=1e-5)
    assert first.added > 0


def test_the_ends_of_a_direction_are_pairs_that_lie_there_on_both_sides():
    x, y = data()
    made = adapter(expansion=None, hubness=None)
    pairs = align.PairedEmbeddings.from_arrays(x, y)
    found = align.explain(made, x[0], y[0], pairs=pairs, top=2)
    for each in found.directions:
        at = torch.stack([made.source(x)[:, each.number], made.target(y)[:, each.number]])
        sign = 1 if each.query >= 0 else -1
        near = (sign * at).amin(dim=0)
        assert [int(name) for name in each.near] == near.argsort(descending=True)[:3].tolist()
        far = (sign * at).amax(dim=0)
        assert [int(name) for name in each.far] == far.argsort()[:3].tolist()
        assert 0.9 < each.correlation <= 1


def test_without_pairs_those_that_the_adapter_keeps_are_numbered():
    x, y = data()
    assert align.explain(adapter(), x[5], y[5]).pairs[0].name == "kept pair 5"
    bare = align.explain(adapter(expansion=None, hubness=None), x[5], y[5])
    assert bare.pairs == () and bare.directions[0].correlation is None
    assert bare.expansion == 0 and bare.hubness == 0


def test_what_is_shown_adds_up_and_fits():
    x, y = data()
    pairs = align.PairedEmbeddings.from_arrays(x, y)
    names = ["a red dog jumps over a very long fence " * 5] * N
    found = align.explain(adapter(), x[5], y[5], pairs=pairs, names=names, top=3)
    assert repr(found).startswith("Explanation(score +") and "hubness -" in repr(found)
    assert all(len(line) <= LONGEST for line in str(found).split("\n"))
    assert "3 of 6 directions add" in str(found) and "training pairs like both" in str(found)
    html = found._repr_html_()
    assert "The terms add up to the score." in html and "Training pairs like both" in html
    told = json.loads(json.dumps(found.to_dict()))
    assert told["hubness"] == found.hubness and len(told["directions"]) == 3


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("top must be finite and at least 1", {"top": 0}),
        ("side must be", {"side": "queries"}),
        ("names without pairs", {"names": ["a"]}),
    ],
)
def test_options_out_of_range_are_refused(said, options):
    x, y = data()
    with pytest.raises(ValueError, match=said):
        align.explain(adapter(), x[0], y[0], **options)


def test_one_query_and_one_item_are_explained_at_a_time():
    x, y = data()
    with pytest.raises(ValueError, match=r"one item is explained at a time; .*\(2, 9\)"):
        align.explain(adapter(), x[0], y[:2])
    with pytest.raises(ValueError, match="names must have one entry per row"):
        align.explain(
            adapter(), x[0], y[0], pairs=align.PairedEmbeddings.from_arrays(x, y), names=["a"]
        )
