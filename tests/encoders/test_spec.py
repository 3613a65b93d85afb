from __future__ import annotations

import subprocess
import sys

import pytest

from align.encoders.composite import ConcatEncoder, MixedEncoder
from align.encoders.image import ImageEncoder
from align.encoders.spec import from_card, load_encoder
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
    assert type(load_encoder(f"text:{bert}")) is TextEncoder
    assert type(load_encoder(f"code:{bert}")) is CodeEncoder
    assert type(load_encoder(f"image:{vit}")) is ImageEncoder
    assert load_encoder(f"text:{bert}").fingerprint == TextEncoder(bert).fingerprint


def test_an_encoder_a_function_or_a_class_of_a_module_gives_an_encoder(module):
    ready = load_encoder(f"python:{module}:ready")
    assert ready.encode(["a"]).tolist() == [[1.0]]
    assert load_encoder(f"python:{module}:make") is ready
    assert load_encoder(f"python:{module}:Custom").fingerprint == "sound-1"


@pytest.mark.parametrize(
    "spec", ["bert-base-uncased", "audio:x", "text:", "python:module", "python:a:b:c", ""]
)
def test_a_spec_of_another_form_is_refused_and_the_known_ones_are_listed(spec):
    with pytest.raises(ValueError, match=r"text:MODEL, code:MODEL, image:MODEL or python:MOD.*got"):
        load_encoder(spec)


def test_a_plus_puts_encoders_side_by_side(bert, module):
    both = load_encoder(f"text:{bert}+text:{bert}")
    assert type(both) is ConcatEncoder and both.parts == (16, 16)
    assert [type(each) for each in both.encoders] == [TextEncoder, TextEncoder]
    with pytest.raises(ValueError, match="two or more encoders of one modality"):
        load_encoder(f"text:{bert}+code:{bert}")


def test_a_plus_or_a_semicolon_in_a_name_does_not_part_it(bert, tmp_path):
    odd = tmp_path / "a+b;c=d"
    odd.symlink_to(bert)
    assert type(load_encoder(f"text:{odd}")) is TextEncoder
    assert load_encoder(f"text:{odd}+text:{odd}").parts == (16, 16)
    assert list(load_encoder(f"text=text:{odd};code=code:{odd}").encoders) == ["text", "code"]


def test_named_specs_give_an_encoder_of_mixed_items(bert, vit):
    mixed = load_encoder(f"image=image:{vit}; Code=text:{bert}+text:{bert}")
    assert type(mixed) is MixedEncoder and list(mixed.encoders) == ["image", "code"]
    assert type(mixed.encoders["image"]) is ImageEncoder
    assert type(mixed.encoders["code"]) is ConcatEncoder
    assert type(load_encoder(f"image=image:{vit}")) is MixedEncoder


@pytest.mark.parametrize("second", ["image=image:x", "text:x"])
def test_a_modality_is_named_once_and_for_each_encoder(bert, second):
    with pytest.raises(ValueError, match=r"must name each modality once.*got '(image=|text:)"):
        load_encoder(f"image=text:{bert};{second}")


def test_a_name_that_is_no_modality_is_refused(bert):
    with pytest.raises(ValueError, match=r"a modality is one of text, image.*got 'smell'"):
        load_encoder(f"smell=text:{bert}")


def test_what_a_python_spec_lacks_is_named(module):
    with pytest.raises(ModuleNotFoundError, match=r"no 'nowhere'\. Install it, or .*PYTHONPATH"):
        load_encoder("python:nowhere.at_all:make")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'surely_not_installed'"):
        load_encoder("python:my_broken:make")
    with pytest.raises(AttributeError, match="'my_encoders' must define 'mkae'"):
        load_encoder(f"python:{module}:mkae")
    with pytest.raises(ValueError, match=r"my_encoders:number must give an encoder.*got a int"):
        load_encoder(f"python:{module}:number")


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
    monkeypatch.setattr("align.encoders.spec.load_encoder", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(ValueError, match=r"the source .* calls 'platform:platform'.*trust=True"):
        from_card({"source": spec}, "source")


@pytest.mark.parametrize("spec", ["python:my_encoders:make", "text=python:my_encoders:make"])
def test_code_of_a_card_is_imported_only_by_those_who_trust_it(spec, module):
    with pytest.raises(ValueError, match=r"imports and calls 'my_encoders:make'\. .*trust=True"):
        from_card({"target": spec}, "target")
    assert module not in sys.modules
    trusted = from_card({"target": spec}, "target", trust=True)
    assert module in sys.modules and trusted.dim == 1


def test_all_code_that_a_card_names_is_said_in_the_refusal():
    spec = "text=text:a+python:one:a;code=python:two:b\nc+python:three:c"
    with pytest.raises(ValueError, match=r"calls 'one:a', 'two:b\\nc', 'three:c'\. Look"):
        from_card({"source": spec}, "source")


def test_a_device_goes_to_every_network_and_a_missing_one_is_an_error(bert, vit, module, machine):
    machine(gpus=1)
    mixed = load_encoder(f"image=image:{vit};text=text:{bert}+text:{bert}", device="cuda")
    text = mixed.encoders["text"].encoders
    assert [each.device for each in (mixed.encoders["image"], *text)] == ["cuda"] * 3
    assert load_encoder(f"text:{bert}").device == "auto"
    assert from_card({"source": f"text:{bert}"}, "source", device="cuda:0").device == "cuda:0"
    machine(gpus=0)
    for spec in (f"text:{bert}", f"image:{vit}", f"python:{module}:ready"):
        with pytest.raises(ValueError, match="got device='cuda'; torch sees: cpu"):
            load_encoder(spec, device="cuda")


def test_a_folder_that_is_called_python_is_no_code(monkeypatch):
    monkeypatch.setattr("align.encoders.spec.load_encoder", lambda spec, device: spec)
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
        again = load_encoder(encoder.spec)
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
        load_encoder(f"text:{bert}?{options}")
