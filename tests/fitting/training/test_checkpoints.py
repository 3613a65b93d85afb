import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from align._files.codec import Schema
from align._files.tensors import read_tensors, write_tensors
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.trainable import residual
from align.fitting.training.checkpoints import digest
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive, siglip
from align.fitting.training.train import train
from tests.helpers.flipped import flipped

CONFIG = TrainConfig(
    steps=12,
    batch_size=20,
    learning_rate=1e-2,
    mixup=1.0,
    ema=0.5,
    checkpoint_every=4,
    validate_every=3,
)


@pytest.fixture
def start(pairs):
    closed = procrustes(pairs.source, pairs.target)
    generator = torch.Generator().manual_seed(0)
    return residual(closed, kind="mlp", size=5, dropout=0.5, generator=generator)


def quality(adapter):
    """Something that rises and falls."""
    return torch.sin(1e4 * adapter.source_map.delta.second.sum()).item()


def stopping_at(step, error):
    def stop(record):
        if record["step"] == step:
            raise error

    return stop


def bits(adapter):
    return {name: value.clone() for name, value in adapter.state_dict().items()}


def assert_same(a, b):
    a, b = bits(a), bits(b)
    assert a.keys() == b.keys()
    assert [name for name in a if not a[name].equal(b[name])] == []


@pytest.mark.parametrize("validate", [None, quality])
@pytest.mark.parametrize("step", [2, 6, 8, 11])
def test_an_interrupted_run_continues_to_the_same_bits(pairs, start, tmp_path, step, validate):
    path = tmp_path / "run" / "training.safetensors"
    whole = train(start, pairs, config=CONFIG, validate=validate)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(
            start,
            pairs,
            config=CONFIG,
            validate=validate,
            checkpoint=path,
            log=[stopping_at(step, KeyboardInterrupt)],
        )
    assert path.exists() == (step > 4)
    kept = f"kept up to step {(step - 1) // 4 * 4}" if step > 4 else "No step of the training"
    assert kept in stopped.value.__notes__[0]
    seen = []
    found = train(
        start, pairs, config=CONFIG, validate=validate, checkpoint=path, log=[seen.append]
    )
    assert_same(found, whole)
    done = (step - 1) // 4 * 4
    assert [record["step"] for record in seen if record["step"]] == list(range(done + 1, 13))
    assert found.card.method == whole.card.method and found.card.verdict == whole.card.verdict


def test_a_finished_run_is_not_run_again(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"
    whole = train(start, pairs, config=CONFIG, validate=quality, checkpoint=path)
    before, seen = path.read_bytes(), []
    again = train(start, pairs, config=CONFIG, validate=quality, checkpoint=path, log=[seen.append])
    assert_same(again, whole)
    assert again.card == whole.card
    assert seen == [] and path.read_bytes() == before


def test_a_run_that_lost_patience_is_not_run_on(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"
    config = replace(CONFIG, patience=2)
    whole = train(start, pairs, config=config, validate=lambda _: 0.5, checkpoint=path)
    seen = []
    again = train(
        start, pairs, config=config, validate=lambda _: 0.5, checkpoint=path, log=[seen.append]
    )
    assert seen == [] and "for 6 of 12 steps" in again.card.verdict
    assert_same(again, whole)


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"
    train(start, pairs, config=CONFIG, checkpoint=path)
    other_start, other_dropout = copy.deepcopy(start), copy.deepcopy(start)
    other_start.source_map.delta.bias.data += 1
    other_dropout.source_map.delta.dropout = 0.25
    fewer = pairs.take(range(59))
    regrouped = type(pairs)(pairs.source, pairs.target, pairs.ids, ("a",) * 60)
    again = r"Pass another path, or remove this file to train from the start."
    for changes, message in (
        ({"config": replace(CONFIG, seed=1)}, r"differs in settings: .*\"seed\": 0.* then"),
        ({"loss": siglip}, "differs in loss: contrastive then, siglip now"),
        ({"validate": quality}, "differs in validated: False then, True now"),
        ({"weights": torch.ones(60)}, "differs in weights: "),
    ):
        with pytest.raises(ValueError, match=f"{message}.*{again}"):
            train(start, pairs, **{"config": CONFIG, "checkpoint": path, **changes})
    for given in ((other_start, pairs), (other_dropout, pairs)):
        with pytest.raises(ValueError, match=r"differs in start: "):
            train(*given, config=CONFIG, checkpoint=path)
    for given in ((start, fewer), (start, regrouped)):
        with pytest.raises(ValueError, match=r"differs in pairs: "):
            train(*given, config=CONFIG, checkpoint=path)


def test_a_damaged_checkpoint_is_refused(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"
    train(start, pairs, config=CONFIG, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"must be a whole safetensors file; .* remove this file"):
        train(start, pairs, config=CONFIG, checkpoint=path)
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"must have schema 'isthmus-training-2'; got None"):
        train(start, pairs, config=CONFIG, checkpoint=path)


def test_a_loss_that_fails_leaves_the_checkpoint_before_it(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"

    def bad(batch):
        return contrastive(batch) * (torch.nan if batch.step == 9 else 1)

    for _ in range(2):
        seen = []
        with pytest.raises(FloatingPointError, match="at step 10 of 12"):
            train(start, pairs, loss=bad, config=CONFIG, checkpoint=path, log=[seen.append])
    assert [record["step"] for record in seen] == [9]


def test_a_digest_tells_shapes_types_bytes_and_order_apart(rng):
    x = torch.randn(4, 3, generator=rng)
    one_bit = x.clone()
    one_bit.view(torch.int32)[0, 0] ^= 1
    others = [
        [x, None],
        [None, x],
        [x],
        [x.reshape(3, 4)],
        [one_bit],
        [x.view(torch.int32)],
        [x.T],
        [],
    ]
    assert len({digest(tensors) for tensors in others}) == len(others)
    assert digest([x]) == digest([x.T.contiguous().T])


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_refused_or_changes_nothing(
    pairs, start, tmp_path
):
    path = tmp_path / "training.safetensors"
    whole, refused = train(start, pairs, config=CONFIG, checkpoint=path), 0
    for _ in flipped(path, tries=60):
        try:
            assert_same(train(start, pairs, config=CONFIG, checkpoint=path), whole)
        except ValueError as error:
            assert "Pass another path, or remove this file" in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("words", [{}, {"identity": "{}"}, {"identity": "[]", "numbers": "{"}])
def test_a_checkpoint_that_lacks_what_a_run_needs_is_refused(pairs, start, tmp_path, words):
    path = tmp_path / "training.safetensors"
    write_tensors(path, {"x": torch.ones(1)}, schema=Schema("isthmus-training", 2), words=words)
    with pytest.raises(ValueError, match=r"a checkpoint must say what it is of"):
        train(start, pairs, config=CONFIG, checkpoint=path)


def test_a_checkpoint_without_some_of_the_tensors_is_refused(pairs, start, tmp_path):
    path = tmp_path / "training.safetensors"
    train(start, pairs, config=CONFIG, checkpoint=path)
    again = {"schema": Schema("isthmus-training", 2), "again": ""}
    tensors, words, _ = read_tensors(path, **again)
    del tensors["generator"]
    write_tensors(path, tensors, schema=Schema("isthmus-training", 2), words=words)
    with pytest.raises(ValueError, match=r"it lacks \['generator'\]"):
        train(start, pairs, config=CONFIG, checkpoint=path)
