"""What must hold of every closed form."""

import pytest
import torch

from align.adapters.closed_form.asif import asif, relative
from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.pls import pls
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import cca, rcca
from align.adapters.closed_form.ridge import ridge

METHODS = {
    "asif": lambda x, y: asif(x, y, k=5, power=2.0),
    "relative": relative,
    "cca": cca,
    "csa": csa,
    "pls": pls,
    "procrustes": procrustes,
    "rcca": rcca,
    "ridge": ridge,
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def held_out_scores(adapter, source, target):
    return adapter.source(source[60:]) @ adapter.target(target[60:]).T


def test_rotating_an_encoder_changes_no_score(method, pairs, rng):
    source, target = pairs
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=rng))[0]
    plain = held_out_scores(method(source[:60], target[:60]), source, target)
    turned = source @ rotation
    found = held_out_scores(method(turned[:60], target[:60]), turned, target)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_the_lengths_of_rows_change_no_score(method, pairs, rng):
    source, target = pairs
    plain = held_out_scores(method(source[:60], target[:60]), source, target)
    longer = source * (0.1 + 10 * torch.rand(80, 1, generator=rng))
    found = held_out_scores(method(longer[:60], target[:60]), longer, target)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_the_order_of_pairs_changes_no_score(method, pairs, rng):
    source, target = pairs
    order = torch.randperm(60, generator=rng)
    plain = held_out_scores(method(source[:60], target[:60]), source, target)
    found = held_out_scores(method(source[order], target[order]), source, target)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_swapped_pairs_score_no_better_than_chance(method, make_pairs, rng):
    source, target = make_pairs(n=300, noise=0.1)
    shuffled = target[:200][torch.randperm(200, generator=rng)]
    ranks = {}
    for name, y in (("matched", target[:200]), ("shuffled", shuffled)):
        adapter = method(source[:200], y)
        scores = adapter.source(source[200:]) @ adapter.target(target[200:]).T
        ranks[name] = (scores >= scores.diagonal()[:, None]).sum(dim=1).double().mean()
    assert ranks["matched"] < 25 < ranks["shuffled"]


def test_float64_pairs_give_a_float32_adapter(method, pairs):
    adapter = method(pairs[0].double(), pairs[1].double())
    assert {tensor.dtype for tensor in adapter.state_dict().values()} == {torch.float32}


def test_the_card_names_the_method_and_the_data(method, pairs):
    card = method(*pairs).card
    assert (card.n_pairs, card.d_source, card.d_target) == (80, 8, 6)
    assert "(" in card.method or card.method == "procrustes"


def test_centering_is_not_changed_by_turning_both_sides_alike(make_pairs, rng):
    # It compares the spaces as they are, so it can only follow one rotation of both.
    source, target = make_pairs(d_source=5, d_target=5)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=rng))[0]
    plain = held_out_scores(centering(source[:60], target[:60]), source, target)
    turned = source @ rotation, target @ rotation
    found = held_out_scores(centering(turned[0][:60], turned[1][:60]), *turned)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)
