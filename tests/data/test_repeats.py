"""Pairs that share an item and no group are told of, at every door that splits or ranks them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.data.repeats import RepeatedItems, repeated
from align.data.token_pairs import TokenPairs
from align.fitting.instructions.fit import instruct
from align.fitting.migration.upgrade import upgrade
from align.fitting.model_selection.fit import fit
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.fitting.training.config import TrainConfig
from align.fitting.training.train import train
from align.fitting.tuning.study import tune
from align.metrics.evaluation import evaluate
from tests.helpers.planted import shared_factors

N = 60


def captioned(groups=None):
    """Sixty captions of twelve photos."""
    x, y = shared_factors(N, (10, 8), shared=4, noise=0.2)
    return PairedEmbeddings.from_arrays(x, y[::5].repeat_interleave(5, 0), groups=groups)


def photos():
    return [str(row // 5) for row in range(N)]


def closed_form(pairs):
    return rcca(pairs.source, pairs.target)


def asked(pairs):
    return replace(pairs, instructions=torch.ones(N, 3))


QUICK = TrainConfig(steps=2)
DOORS = {
    "fit": lambda p, _: fit(p, effort="fast", folds=2),
    "evaluate": lambda p, _: evaluate(p, closed_form(p)),
    "split": lambda p, _: p.split(test=0.5),
    "train": lambda p, _: train(closed_form(p), p, config=QUICK),
    "fit_meta_tokens": lambda p, _: fit_meta_tokens(
        TokenPairs(p), asking=2, vectors=3, epochs=0, fit_adapter=closed_form
    ),
    "instruct": lambda p, _: instruct(
        closed_form(p), asked(p), fit_adapter=closed_form, config=QUICK
    ),
    "tune": lambda p, folder: tune(p, study=folder / "journal", trials=1, folds=2),
    "upgrade": lambda p, _: upgrade(p.source, p.target),
}


@pytest.mark.parametrize("name", DOORS)
def test_captions_of_one_photo_without_groups_are_told_of(name, tmp_path):
    with pytest.warns(RepeatedItems, match=f"{name} got 60 of 60 pairs whose target item") as told:
        DOORS[name](captioned(), tmp_path)
    mine = [each for each in told if each.category is RepeatedItems]
    assert len(mine) == 1 and mine[0].filename == __file__


@pytest.mark.parametrize("name", [name for name in DOORS if name != "upgrade"])
def test_with_groups_nothing_is_said(name, tmp_path, recwarn):
    DOORS[name](captioned(photos()), tmp_path)
    assert not [each for each in recwarn if each.category is RepeatedItems]


def test_token_pairs_are_told_of_when_they_are_split():
    with pytest.warns(RepeatedItems, match="split got 60"):
        TokenPairs(captioned()).split(test=0.5)


def test_raw_items_are_told_of_when_they_are_split():
    files = [Path(__file__) for _ in range(N)]
    texts = [f"text {row}" for row in range(N)]
    with pytest.warns(RepeatedItems, match="split got 60 of 60 pairs whose target item"):
        Pairs.from_lists(texts, files).split(test=0.5)
    Pairs.from_lists(texts, files, groups=photos()).split(test=0.5)


def test_a_repeat_here_and_there_is_not_worth_a_word():
    source = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    source[1] = source[0]
    PairedEmbeddings.from_arrays(source, source.flip(0) + 1).split(test=0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_rows_are_counted_bit_by_bit(dtype):
    x = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6], [3, 4], [1, 2]], dtype=dtype)
    assert repeated(x) == 5 and repeated(x[1:4]) == 0
    assert repeated(x.T.contiguous().T) == 5


def test_objects_are_equal_to_themselves_alone():
    one = {"a": 1}
    assert repeated(["x", "y", "x"]) == 2 and repeated([{"a": 1}, {"a": 1}]) == 0
    assert repeated([one, one]) == 2
