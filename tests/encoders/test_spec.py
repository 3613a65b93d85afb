from __future__ import annotations

import subprocess
import sys

import pytest

from align.encoders.composite import ConcatEncoder, MixedEncoder
from align.encoders.image import ImageEncoder
from align.encoders.spec import from_card, from_spec
from align.encoders.text import CodeEncoder, TextEncoder

MODULE = """
from align.encoders.callable import CallableEncoder

ready = CallableEncoder(lambda items: [[1.0] for _ in items], name="ones", dim=1)

def make():
    return ready

class Custom:
    modality = "sound"
    dim = 1
    fingerprint = "sound-1"

    def encode(self, items, *, progress=False):
        raise NotImplementedError

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_encoders.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_encoders"
    for name in ("my_encoders", "my_broken"):
        sys.modules.pop(name, None)


def test_a_kind_and_a_model_give_an_encoder(bert, vit):
    assert type(from_spec(f"text:{bert}")) is TextEncoder
    assert type(from_spec(f"code:{bert}")) is CodeEncoder
    assert type(from_spec(f"image:{vit}")) is ImageEncoder
    assert from_spec(f"text:{bert}").fingerprint == TextEncoder(bert).fingerprint


def test_an_encoder_a_function_or_a_class_of_a_module_gives_an_encoder(module):
    ready = from_spec(f"python:{module}:ready")
    assert ready.encode(["a"]).tolist() == [[1.0]]
    assert from_spec(f"python:{module}:make") is ready
    assert from_spec(f"python:{module}:Custom").fingerprint == "sound-1"


@pytest.mark.parametrize(
    "spec", ["bert-base-uncased", "audio:x", "text:", "python:module", "python:a:b:c", ""]
)
def test_a_spec_of_another_form_is_refused_and_the_known_ones_are_listed(spec):
    with pytest.raises(ValueError, match=r"text:MODEL, code:MODEL, image:MODEL or python:MOD.*got"):
        from_spec(spec)


def test_a_plus_puts_encoders_side_by_side(bert, module):
    both = from_spec(f"text:{bert}+text:{bert}")
    assert type(both) is ConcatEncoder and both.parts == (16, 16)
    assert [type(each) for each in both.encoders] == [TextEncoder, TextEncoder]
    with pytest.raises(ValueError, match="two or more encoders of one modality"):
        from_spec(f"text:{bert}+code:{bert}")


def test_a_plus_or_a_semicolon_in_a_name_does_not_part_it(bert, tmp_path):
    odd = tmp_path / "a+b;c=d"
    odd.symlink_to(bert)
    assert type(from_spec(f"text:{odd}")) is TextEncoder
    assert from_spec(f"text:{odd}+text:{odd}").parts == (16, 16)
    assert list(from_spec(f"text=text:{odd};code=code:{odd}").encoders) == ["text", "code"]


def test_named_specs_give_an_encoder_of_mixed_items(bert, vit):
    mixed = from_spec(f"image=image:{vit}; Code=text:{bert}+text:{bert}")
    assert type(mixed) is MixedEncoder and list(mixed.encoders) == ["image", "code"]
    assert type(mixed.encoders["image"]) is ImageEncoder
    assert type(mixed.encoders["code"]) is ConcatEncoder
    assert type(from_spec(f"image=image:{vit}")) is MixedEncoder


@pytest.mark.parametrize("second", ["image=image:x", "text:x"])
def test_a_modality_is_named_once_and_for_each_encoder(bert, second):
    with pytest.raises(ValueError, match=r"must name each modality once.*got '(image=|text:)"):
        from_spec(f"image=text:{bert};{second}")


def test_a_name_that_is_no_modality_is_refused(bert):
    with pytest.raises(ValueError, match=r"a modality is one of text, image.*got 'smell'"):
        from_spec(f"smell=text:{bert}")


def test_what_a_python_spec_lacks_is_named(module):
    with pytest.raises(ModuleNotFoundError, match=r"no 'nowhere'\. Install it, or .*PYTHONPATH"):
        from_spec("python:nowhere.at_all:make")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'surely_not_installed'"):
        from_spec("python:my_broken:make")
    with pytest.raises(AttributeError, match="'my_encoders' must define 'mkae'"):
        from_spec(f"python:{module}:mkae")
    with pytest.raises(ValueError, match=r"my_encoders:number must give an encoder.*got a int"):
        from_spec(f"python:{module}:number")


def test_importing_the_encoders_imports_no_model_library():
    code = (
        "import sys\n"
        "from align.encoders import callable, image, spec, text\n"
        "from align.encoders.pretrained import weights\n"
        "loaded = {'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "spec",
    [
        "python:platform:platform",
        " python:platform:platform",
        "text:some/model+python:platform:platform",
        "image=image:some/model;code=python:platform:platform",
        "image= python:platform:platform",
    ],
)
def test_no_code_that_a_card_names_is_run(spec, monkeypatch):
    monkeypatch.setattr("align.encoders.spec.from_spec", lambda spec: pytest.fail("built"))
    with pytest.raises(ValueError, match=r"must be one that runs no code.*the source encoder is"):
        from_card({"source": spec}, "source")


def test_a_folder_that_is_called_python_is_no_code(monkeypatch):
    monkeypatch.setattr("align.encoders.spec.from_spec", lambda spec: spec)
    assert from_card({"source": "text:models/python:x"}, "source") == "text:models/python:x"


def test_an_encoder_comes_back_from_its_spec(bert, vit):
    text = TextEncoder(bert, pooling="last", prompt="a & b=+; ", max_length=9, device="cpu")
    image = ImageEncoder(str(vit), pooling="cls+mean", layer=1, batch_size=2)
    for encoder in (
        TextEncoder(bert),
        CodeEncoder(bert, dtype="bfloat16"),
        text,
        image,
        ConcatEncoder(text, TextEncoder(bert)),
        MixedEncoder({"image": image, "text": ConcatEncoder(text, TextEncoder(bert, layer=0))}),
    ):
        again = from_spec(encoder.spec)
        assert type(again) is type(encoder) and again.fingerprint == encoder.fingerprint
    assert TextEncoder(bert).spec == f"text:{bert}"
    assert image.spec == f"image:{vit}?pooling=cls%2Bmean&layer=1"


def test_an_encoder_that_no_line_can_say_has_no_spec(bert, tmp_path):
    odd = tmp_path / "a?layer=1"
    odd.symlink_to(bert)
    assert TextEncoder(odd).spec is None
    text = TextEncoder(bert)
    assert ConcatEncoder(ConcatEncoder(text, text), text).spec is None
    assert MixedEncoder({"TEXT": text}).spec is None


@pytest.mark.parametrize("options", ["colour=red", "layer=last", "device=cuda", "layer="])
def test_options_that_an_encoder_does_not_have_are_refused(bert, options):
    with pytest.raises(ValueError, match=r"options of an encoder must be among .*'layer'.*got"):
        from_spec(f"text:{bert}?{options}")
