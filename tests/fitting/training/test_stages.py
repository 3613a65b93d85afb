from dataclasses import replace

import pytest
import torch

import align
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.instructions import with_instructions
from align.adapters.trainable import instructed, residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive, modality_aware, siglip
from align.fitting.training.stages import Stage, train_stages
from align.fitting.training.train import train
from experiments.unite_systems import unite_stages

CONFIG = TrainConfig(steps=6, batch_size=20, learning_rate=1e-2, checkpoint_every=2)
STAGES = (Stage("first", contrastive, CONFIG), Stage("second", siglip, replace(CONFIG, seed=1)))


def bits(adapter):
    return adapter.state_dict()


def assert_same(a, b):
    a, b = bits(a), bits(b)
    assert a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture
def start(pairs):
    return procrustes(pairs.source, pairs.target)


def test_each_stage_starts_where_the_one_before_it_ended(pairs, start, tmp_path):
    found = train_stages(start, pairs, STAGES, folder=tmp_path)
    by_hand = train(start, pairs, loss=contrastive, config=CONFIG)
    assert_same(align.load(tmp_path / "1-first" / "adapter"), by_hand)
    by_hand = train(by_hand, pairs, loss=siglip, config=replace(CONFIG, seed=1))
    assert_same(found, by_hand)
    assert_same(align.load(tmp_path / "2-second" / "adapter"), by_hand)
    assert found.card.method.endswith("trained with contrastive, trained with siglip")


@pytest.mark.parametrize("stop_at", [3, 9])
def test_stages_that_are_done_are_not_run_again(pairs, start, tmp_path, stop_at):
    whole = train_stages(start, pairs, STAGES, folder=tmp_path / "whole")
    calls = []

    def stop(record):
        calls.append(record["step"])
        if len(calls) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stages(start, pairs, STAGES, folder=tmp_path / "cut", log=[stop])
    seen = []
    found = train_stages(
        start,
        pairs,
        STAGES,
        folder=tmp_path / "cut",
        log=[lambda record: seen.append(record["step"])],
    )
    assert_same(found, whole)
    assert seen == ([3, 4, 5, 6, 1, 2, 3, 4, 5, 6] if stop_at == 3 else [3, 4, 5, 6])
    seen.clear()
    train_stages(start, pairs, STAGES, folder=tmp_path / "cut", log=[seen.append])
    assert seen == []


def test_a_stage_may_bring_its_own_pairs_and_weights(pairs, start, tmp_path):
    fewer = pairs.take(range(30))
    weights = torch.arange(60.0)
    stages = (replace(STAGES[0], pairs=fewer), replace(STAGES[1], weights=weights))
    found = train_stages(start, pairs, stages, folder=tmp_path)
    by_hand = train(start, fewer, loss=contrastive, config=CONFIG)
    config = replace(CONFIG, seed=1)
    assert_same(found, train(by_hand, pairs, loss=siglip, config=config, weights=weights))


def test_a_stage_that_follows_a_changed_one_is_refused(pairs, start, tmp_path):
    train_stages(start, pairs, STAGES, folder=tmp_path)
    other = residual(start)
    other.source_map.delta.weight.data += 1
    with pytest.raises(ValueError, match=r"1-first/training.safetensors differs in start"):
        train_stages(other, pairs, STAGES, folder=tmp_path)
    with pytest.raises(ValueError, match=r"2-second/training.safetensors differs in loss"):
        train_stages(
            start, pairs, (STAGES[0], Stage("second", config=STAGES[1].config)), folder=tmp_path
        )


def test_unite_adapts_to_retrieval_then_to_instructions(pairs, start, tmp_path, rng):
    first, second = unite_stages(steps=6, batch_size=20)
    assert (first.loss, second.loss) == (contrastive, modality_aware)
    for stage in (first, second):
        config = stage.config
        assert (config.temperature, config.learn_temperature) == (0.03, False)
        assert (config.weight_decay, config.warmup, config.cosine) == (0.0, 0.03, True)
        assert (config.steps, config.batch_size) == (6, 20)
    assert first.config.learning_rate == pytest.approx(5 * second.config.learning_rate)

    def with_told(instructions):
        return PairedEmbeddings.from_arrays(
            with_instructions(pairs.source, instructions),
            pairs.target,
            target_modality=2 ** (torch.arange(60) % 2),
        )

    silent, told = torch.zeros(60, 3), torch.randn(60, 3, generator=rng)
    stages = (first, replace(second, pairs=with_told(told)))
    before = instructed(residual(start), 3)
    found = train_stages(before, with_told(silent), stages, folder=tmp_path)
    after_one = align.load(tmp_path / "1-retrieval-adaptation" / "adapter")
    # Without an instruction there is nothing to learn about instructions.
    assert after_one.source_map.shift.equal(before.source_map.shift)
    assert after_one.source_map.inner.delta.weight.abs().max() > 0
    assert found.source_map.shift.abs().max() > 0


def test_stages_that_cannot_be_told_apart_are_refused(pairs, start, tmp_path):
    with pytest.raises(ValueError, match="there must be a stage to train; got none"):
        train_stages(start, pairs, (), folder=tmp_path)
    with pytest.raises(ValueError, match="the names of stages must be unique; 1 repeat: 'first'"):
        train_stages(start, pairs, (STAGES[0], STAGES[0]), folder=tmp_path)
    with pytest.raises(ValueError, match=r"names a folder: .* got '../up'. Name it like"):
        Stage("../up")
