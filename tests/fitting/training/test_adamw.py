import copy
import subprocess
import sys

import pytest
import torch

from align.fitting.training.adamw import AdamW, RateGroup


def weights(rng):
    sizes = ((3, 4), (4,), ())
    return [torch.randn(size, generator=rng).requires_grad_() for size in sizes]


def grouped(ours):
    return AdamW((RateGroup(ours[:1], 1e-2, 0.1), RateGroup(ours[1:], 3e-3)))


def torchs(theirs):
    groups = [
        {"params": theirs[:1], "lr": 1e-2, "weight_decay": 0.1},
        {"params": theirs[1:], "lr": 3e-3},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.0)


def descend(values, target):
    sum((value - target).square().sum() for value in values).backward()


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_steps_are_those_of_torch_to_the_last_bit(share, rng):
    ours = weights(rng)
    theirs = copy.deepcopy(ours)
    own, reference = grouped(ours), torchs(theirs)
    for group in reference.param_groups:
        group["lr"] *= share
    for _ in range(7):
        for values, optimizer in ((ours, own), (theirs, reference)):
            optimizer.zero_grad()
            descend(values, 2.0)
        own.step(share)
        reference.step()
        assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    for number, moments in reference.state_dict()["state"].items():
        assert all(own.moments[number][name].equal(value) for name, value in moments.items())


def test_a_loaded_optimizer_goes_on_where_the_other_stopped(rng):
    whole = weights(rng)
    halves = copy.deepcopy(whole)
    optimizer, first = grouped(whole), grouped(halves)
    for values, steps in ((whole, optimizer), (halves, first)):
        descend(values, 1.0)
        steps.step()
    second = grouped(halves)
    second.load(first.moments)
    descend(whole, 1.0)
    descend(halves, 1.0)
    optimizer.step()
    second.step()
    assert all(a.equal(b) for a, b in zip(whole, halves, strict=True))
    assert first.moments[0]["step"] == 1  # what was loaded is a copy


def test_a_weight_without_a_gradient_stays(rng):
    values = weights(rng)
    before = values[0].detach().clone()
    optimizer = grouped(values)
    descend(values[1:], 1.0)
    optimizer.step()
    assert values[0].equal(before) and set(optimizer.moments) == {1, 2}


def test_training_loads_no_compiler():
    program = (
        "import sys, numpy as np, align\n"
        "x = np.random.default_rng(0).standard_normal((60, 4))\n"
        "align.fit(x, x[:, :3], folds=3, refine=True, progress=False)\n"
        "assert 'align.fitting.training.adamw' in sys.modules\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
