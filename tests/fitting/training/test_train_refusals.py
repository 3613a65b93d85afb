"""What training cannot go on with stops with a reason."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.ridge import ridge
from align.adapters.trainable import residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive
from align.fitting.training.train import train
from tests.fitting.training.trained import QUICK, closed


def test_pairs_without_weight_are_never_drawn(pairs):
    seen = []

    def look(batch):
        seen.append(batch.source_input)
        return contrastive(batch)

    weights = torch.zeros(60)
    weights[:10] = torch.arange(1.0, 11.0)
    config = TrainConfig(steps=200, batch_size=20, learning_rate=1e-6)
    train(closed(pairs), pairs, loss=look, config=config, weights=weights)
    rows = torch.cdist(torch.cat(seen), F.normalize(pairs.source, dim=1)).argmin(dim=1)
    counts = rows.bincount(minlength=60).double()
    assert counts[10:].sum() == 0
    expected = 4000 * weights[:10].double() / 55
    # Four standard deviations of a binomial count.
    assert ((counts[:10] - expected).abs() < 4 * expected.sqrt()).all()


def test_a_loss_that_is_not_finite_stops_with_step_and_value(pairs):
    def bad(batch):
        return contrastive(batch) * (math.nan if batch.step == 2 else 1)

    with pytest.raises(FloatingPointError, match=r"the loss .* at step 3 of 5 the loss was nan"):
        train(closed(pairs), pairs, loss=bad, config=QUICK)


def test_a_gradient_that_is_not_finite_stops_with_step_and_value(pairs):
    def bad(batch):
        # The root has an infinite slope at zero.
        return contrastive(batch) + (0 * batch.source_projected).square().sum().sqrt()

    with pytest.raises(FloatingPointError, match=r"every gradient must be finite; at step 1 of 5"):
        train(closed(pairs), pairs, loss=bad, config=QUICK)


def test_a_loss_of_many_numbers_is_refused(pairs):
    with pytest.raises(
        ValueError, match=r"single number; .*<lambda> gave .* shape \(60,\). Take its"
    ):
        train(
            closed(pairs), pairs, loss=lambda batch: batch.source_projected.sum(dim=1), config=QUICK
        )


def test_a_validation_that_is_not_finite_is_refused(pairs):
    with pytest.raises(ValueError, match=r"finite number; after step 0 it gave nan. Look at"):
        train(closed(pairs), pairs, config=QUICK, validate=lambda _: math.nan)


def test_an_adapter_without_a_weight_to_learn_is_refused(pairs):
    frozen = residual(closed(pairs)).requires_grad_(False)
    with pytest.raises(ValueError, match=r"all of 2 are frozen. Call requires_grad_\(\) on some"):
        train(frozen, pairs, config=QUICK)


def test_pairs_of_other_encoders_are_refused(pairs):
    start = closed(pairs)
    start.card = replace(start.card, target_fingerprint="image:a")
    other = PairedEmbeddings(
        pairs.source, pairs.target, pairs.ids, pairs.groups, "text:a", "image:b"
    )
    with pytest.raises(ValueError, match=r"target side .* image:a; got vectors of image:b"):
        train(start, other, config=QUICK)


def test_pairs_that_do_not_fit_the_maps_are_refused(pairs):
    wide = PairedEmbeddings.from_arrays(pairs.target, pairs.target)
    with pytest.raises(ValueError, match="source embeddings must have 8 columns"):
        train(ridge(pairs.source, pairs.target), wide, config=QUICK)
    zero = pairs.target.clone()
    zero[3] = 0
    with pytest.raises(ValueError, match="target embeddings needs a direction; 1 of 60"):
        train(closed(pairs), PairedEmbeddings.from_arrays(pairs.source, zero), config=QUICK)
    with pytest.raises(ValueError, match=r"at least 4 pairs.*got 3"):
        train(closed(pairs), pairs.take(range(3)), config=QUICK)


def test_settings_that_do_not_fit_the_pairs_are_refused(pairs):
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 60\].*got 61"):
        train(closed(pairs), pairs, config=replace(QUICK, batch_size=61))
    with pytest.raises(ValueError, match=r"mixed precision needs a GPU.*on the CPU"):
        train(closed(pairs), pairs, config=replace(QUICK, bfloat16=True))
    for weights in (
        torch.ones(59),
        torch.ones(60, dtype=torch.int64),
        torch.zeros(60),
        -torch.ones(60),
        torch.full((60,), torch.inf),
    ):
        with pytest.raises(ValueError, match=r"one finite number per pair.*\(60,\); got torch"):
            train(closed(pairs), pairs, config=QUICK, weights=weights)


def test_patience_without_validation_is_refused(pairs):
    with pytest.raises(ValueError, match=r"got patience=3 and no validate. Pass validate"):
        train(closed(pairs), pairs, config=replace(QUICK, patience=3))


def test_progress_is_drawn_only_when_asked_for(pairs, capsys):
    train(closed(pairs), pairs, config=QUICK)
    assert capsys.readouterr().err == ""
    train(closed(pairs), pairs, config=QUICK, progress=True)
    assert "5/5" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_mixed_precision_on_a_gpu_stays_near_float32(pairs):
    start = closed(pairs).cuda()
    exact = train(start, pairs, config=QUICK)
    mixed = train(start, pairs, config=replace(QUICK, bfloat16=True))
    assert exact.source_map.delta.weight.is_cuda
    cosines = (exact.source(pairs.source.cuda()) * mixed.source(pairs.source.cuda())).sum(dim=1)
    assert cosines.min() > 0.95
