"""Cards, adapters and heads say what they map and how well, beside chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Candidate, Card, card_facts
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import LinearMap
from align.adapters.maps.parts import Parts
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.adapters.panels import adapter_panel
from align.adapters.training_items import TrainingItems

TRIED = (
    Candidate("map", "ridge(1)", 0.2, 0.1, 0.3, 0.4, False, 0.05, 0.1),
    Candidate("final", "rcca(3, 1)", 0.31, 0.29, 0.33, 0.512, True, 0.05, 0.1),
    Candidate("hubness", "NNN(2)", 0.35, 0.33, 0.37, 0.6, True, 0.05, 0.1),
    Candidate("instructions", "a shift", 0.9, 0.8, 1.0, 0.95, True),
    Candidate("identity", "raw cosine", 0.1, 0.0, 0.2, 0.2, False, 0.05, 0.1),
)
CARD = Card(
    "rcca(3, 1)", 4000, 6, 4, n_groups=1000, folds=(5, 2), fold_gallery=800, seed=0,
    candidates=TRIED, verdict="finds pairs 6.0 times as often as chance",
    better_than_chance=True, encoders={"source": "text:minilm"}, target_fingerprint="image:dino",
)  # fmt: skip


def adapter(card: Card = CARD) -> Adapter:
    parts = Parts.even([4, 2])
    maps = (
        LinearMap(torch.zeros(6), torch.eye(6)[:, :3], parts=parts),
        LinearMap(torch.zeros(4), torch.eye(4)[:, :3]),
    )
    z = torch.eye(3)
    reference = ReferenceSet(z, z, expansion=None, hubness=InvertedSoftmax(10.0))
    items = TrainingItems.of(torch.eye(6), torch.eye(6)[:, :4] + 1)
    return Adapter(*maps, card, reference=reference, training_items=items)


def test_the_held_out_numbers_are_those_of_what_was_chosen_last() -> None:
    held = CARD.held_out
    assert held is not None and held.name == "NNN(2)"
    assert replace(CARD, candidates=TRIED[:1]).held_out is None
    assert Card("by hand", 3, 6, 4).held_out is None


def test_lines_say_what_is_mapped_and_how_well_beside_chance() -> None:
    held = "held-out recall@10 60.0 % (chance 10.0 %)"
    assert repr(adapter()) == f"Adapter(source 6 → 3, target 4 → 3, 4,000 pairs, {held})"
    assert repr(CARD) == f"Card('rcca(3, 1)', 6 → 4 dimensions, 4,000 pairs, {held})"
    assert repr(TRIED[0]) == "Candidate(map: 'ridge(1)', MRR 0.200 (chance 0.050))"
    assert repr(TRIED[3]) == "Candidate(instructions: 'a shift', MRR 0.900, chosen)"


def test_sides_are_called_as_the_card_calls_them() -> None:
    card = replace(CARD, side_names=("caption", "image"), n_unpaired=(7, 8))
    assert repr(adapter(card)).startswith("Adapter(caption 6 → 3, image 4 → 3, ")
    [table] = adapter_panel(adapter(card).components(), card).tables
    assert [(row[0], row[-1]) for row in table.rows] == [
        ("caption", "text:minilm"), ("image", "image:dino"),
    ]  # fmt: skip
    assert card_facts(card)["unpaired items"] == "7 caption, 8 image"
    assert len(replace(CARD, side_names=("x" * 999, "y")).side_name("source")) <= 30


def test_a_card_of_a_map_made_by_hand_claims_nothing() -> None:
    card = Card("by hand", 3, 6, 4)
    assert repr(card) == "Card('by hand', 6 → 4 dimensions, 3 pairs)"
    html = adapter(card)._repr_html_()
    assert "No verdict was recorded." in html and "held-out" not in html


def test_a_panel_shows_sides_parts_and_numbers() -> None:
    html = adapter()._repr_html_()
    for shown in (
        "6 and 4 to 3 dimensions", "finds pairs 6.0 times as often as chance",
        "<div class=\"value\">60.0 %</div><div class=\"beside\">chance 10.0 %</div>",
        "<td>LinearMap of 2 parts (4 + 2)</td><td>text:minilm</td>",
        "<td>LinearMap</td><td>image:dino</td>", "InvertedSoftmax", "from 3 training pairs",
        "6 training pairs, to say what is not held out", "5 candidates were tried",
        "in 1,000 groups", "5 folds, drawn 2x from seed 0",
    ):  # fmt: skip
        assert shown in html, shown


@pytest.mark.parametrize("shown", [CARD, adapter()], ids=["card", "adapter"])
def test_what_is_no_better_than_chance_is_a_warning(shown: Card | Adapter) -> None:
    failed = replace(CARD, better_than_chance=False, verdict="no better than chance")
    html = failed._repr_html_() if isinstance(shown, Card) else adapter(failed)._repr_html_()
    assert '<p class="warning">no better than chance</p>' in html
    assert '<p class="warning">' not in shown._repr_html_()


def test_a_head_names_its_vectors_and_the_adapter_behind_them() -> None:
    tried = [{"stage": "start", "name": "clusters", "mrr": 0.4, "recall_at_10": 0.5}, "damaged"]
    head = MetaTokens(
        adapter(), None, None, mix=0.3, asking=1, card={"verdict": "left out", "tried": tried}
    )
    assert repr(head).startswith("MetaTokens(1 vector an item, 1 a query, on Adapter(source 6 → 3")
    html = head._repr_html_()
    assert "left out" in html and "1 candidate was tried" in html and "clusters" in html
    assert (
        "No verdict" in MetaTokens(adapter(), None, None, mix=0.3, asking=1, card={})._repr_html_()
    )


def test_a_panel_says_what_an_adapter_was_calibrated_on():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    page = align.fit(x, x, effort="fast")._repr_html_()
    assert "on held-out pairs, asked of 12 items" in page
    assert "no: hits have no confidence" in rcca(x, x)._repr_html_()
