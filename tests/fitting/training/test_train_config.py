import math

import pytest

from align.fitting.training.config import TrainConfig


def test_steps_come_from_steps_or_from_passes():
    assert TrainConfig().steps_for(50) == 200
    assert TrainConfig(steps=7).steps_for(50) == 7
    assert TrainConfig(epochs=3).steps_for(50) == 3
    assert TrainConfig(epochs=3, batch_size=20).steps_for(50) == 9
    assert TrainConfig(epochs=3, batch_size=25).steps_for(50) == 6


def test_the_rate_rises_and_falls_along_a_half_cosine():
    config = TrainConfig(warmup=0.2)
    rates = [config.rate_at(step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[6] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert rates[2:] == sorted(rates[2:], reverse=True) and 0 < rates[9] < 0.05


def test_without_cosine_the_rate_stays_after_the_warm_up():
    config = TrainConfig(warmup=0.2, cosine=False)
    assert [config.rate_at(step, 10) for step in range(2, 10)] == [1.0] * 8
    assert TrainConfig(warmup=0.0, cosine=False).rate_at(0, 10) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 5, "epochs": 2}, "given once; got steps=5 and epochs=2. Leave one"),
        ({"steps": 0}, "steps must be finite and at least 1; got 0"),
        ({"epochs": 0}, "epochs must be finite and at least 1; got 0"),
        ({"patience": 0}, "patience must be finite and at least 1; got 0"),
        ({"chunk": 0}, "chunk must be finite and at least 1; got 0"),
        ({"batch_size": 1}, "batch_size must be finite and at least 2; got 1"),
        ({"batch_size": 3, "mixup": 1.0}, "batch_size must be finite and at least 4; got 3"),
        ({"validate_every": 0}, "validate_every must be finite and at least 1; got 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be finite and at least 1; got 0"),
        ({"learning_rate": 0}, "learning_rate must be finite and above 0; got 0"),
        ({"temperature_rate": 0}, "temperature_rate must be finite and above 0; got 0"),
        ({"weight_decay": -1}, "weight_decay must be finite and at least 0; got -1"),
        ({"anchor": math.nan}, "anchor must be finite and at least 0; got nan"),
        ({"mixup": 0.0}, r"mixup must be finite and above 0; got 0\.0"),
        ({"warmup": 1.0}, r"warmup must lie in \[0, 1\); got 1\.0"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\); got 1\.0"),
        ({"temperature": 0.005}, r"within temperature_bounds.*got 0\.005 and \(0\.01, 0\.5\)"),
        ({"temperature_bounds": (0.0, 0.5)}, r"both above 0; got 0\.05 and \(0\.0, 0\.5\)"),
        ({"temperature": 1.0}, r"within temperature_bounds.*Widen the bounds"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)
