from __future__ import annotations

import pytest
import torch

from align.encoders.presets import universal_sentence
from align.encoders.spec import load_encoder


@pytest.fixture
def package(monkeypatch):
    """Its package with a network of a few lines; what was built is listed."""
    built = []

    class Module:
        class USE:
            def __init__(self, threads):
                built.append(threads)

            def encode(self, texts):
                return torch.stack([torch.full((512,), float(len(text))) for text in texts])

    monkeypatch.setattr(universal_sentence, "package", lambda module, requirement: Module)
    monkeypatch.setattr(universal_sentence, "version", lambda distribution: "1.2.3")
    return built


def test_it_encodes_by_its_package_and_is_built_when_it_is_first_used(package):
    encoder = load_encoder("text:use")
    assert "universal_sentence_encoder_multilingual_1.2.3" in encoder.fingerprint
    assert (encoder.dim, encoder.modality, encoder.spec) == (512, "text", "text:use")
    assert not package
    assert encoder.encode(["a", "bb"])[:, 0].tolist() == [1.0, 2.0]
    encoder.encode(["c"])
    assert package == [1]
