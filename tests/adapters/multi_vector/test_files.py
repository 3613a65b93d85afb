"""Heads on disk: what comes back is what was saved, and nothing else is read as a head."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from align.adapters.multi_vector.aspects import Reduction, Resampler, TokenAspects
from align.adapters.multi_vector.files import ADAPTER, CONFIG, WEIGHTS
from align.adapters.multi_vector.meta_tokens import MetaTokens, load_meta_tokens
from tests.helpers.flipped import flipped
from tests.helpers.meta_heads import KINDS, NONE, TOKEN_WIDTHS, made, random_tokens


@pytest.fixture
def saved(rng, tmp_path):
    """The folder of a head with aspects of both kinds."""
    made(("tokens", "heads"), rng=rng).head.save(tmp_path / "head")
    return tmp_path / "head"


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def vectors_of(head, it):
    """Everything that a head can make of the pairs ``it`` was made with."""
    found = []
    for method, side in ((head.source, 0), (head.target, 1)):
        found.append(method(it.sides[side], it.tokens[side]).tokens)
    for side, name in enumerate(("source", "target")):
        found.append(head.queries(it.sides[side], it.tokens[side], side=name).tokens)
        found.append(head.gallery(it.sides[side], it.tokens[side], side=name).tokens)
    return found


@pytest.mark.parametrize("hubness", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("kinds", [*KINDS, NONE], ids=str)
def test_a_loaded_head_gives_the_same_bits(kinds, hubness, rng, tmp_path):
    it = made(kinds, rng=rng, asking=1 if kinds == NONE else 2, mix=0.37, hubness=hubness)
    it.head.save(tmp_path / "head")
    again = load_meta_tokens(tmp_path / "head")
    for found, expected in zip(vectors_of(again, it), vectors_of(it.head, it), strict=True):
        assert found.equal(expected)
    before, after = it.head.state_dict(), again.state_dict()
    assert set(before) == set(after) and all(before[name].equal(after[name]) for name in before)
    assert again.mix.equal(it.head.mix) and again.asking == it.head.asking
    assert again.card == it.head.card == {"made": "for a test"}
    assert not again.training


def test_a_trained_mix_comes_back_to_the_last_bit(rng, tmp_path):
    head = made(rng=rng, mix=0.5).head
    with torch.no_grad():
        head.mix_logit += 0.123456789
    head.save(tmp_path / "head")
    assert load_meta_tokens(tmp_path / "head").mix_logit.equal(head.mix_logit)


@pytest.mark.parametrize("strided", ["mean and basis", "queries", "weight"])
def test_strided_tensors_give_the_same_bits(strided, rng, tmp_path):
    it = made(rng=rng, n=5)

    def drawn(*shape, flip):
        x = torch.randn(*reversed(shape), generator=rng).T
        return x if flip else x.contiguous()

    d = TOKEN_WIDTHS[0]
    reduction = Reduction(torch.zeros(d), drawn(d, 6, flip=strided == "mean and basis"))
    resampler = Resampler(
        drawn(3, 6, flip=strided == "queries"), drawn(6, 4, flip=strided == "weight")
    )
    head = MetaTokens(
        it.head.adapter,
        TokenAspects(reduction, resampler),
        it.head.target_aspects,
        mix=0.5,
        asking=2,
        card={},
    )
    head.save(tmp_path / "head")
    again = load_meta_tokens(tmp_path / "head")
    many = random_tokens(5, d, rng, longest=50)
    for n in range(1, 6):
        x, tokens = it.sides[0][:n], many[:n]
        assert again.source(x, tokens).tokens.equal(head.source(x, tokens).tokens)


def test_a_loaded_head_can_be_trained_further_and_saved_again(saved, tmp_path):
    head = load_meta_tokens(saved)
    parameters = dict(head.named_parameters())
    assert len(parameters) == 4 and "mix_logit" in parameters
    assert all(each.requires_grad and each.is_leaf for each in parameters.values())
    head.save(tmp_path / "again")
    names = sorted(file.relative_to(saved) for file in saved.rglob("*") if file.is_file())
    assert [str(name) for name in names][-2:] == [CONFIG, WEIGHTS]
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_loaded_head_does_not_change_with_its_file(saved, rng):
    head = load_meta_tokens(saved)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    path = saved / WEIGHTS
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    assert all(before[name].equal(tensor) for name, tensor in head.state_dict().items())


def test_the_folder_holds_three_things_that_others_may_read(saved):
    assert sorted(file.name for file in saved.iterdir()) == sorted([ADAPTER, CONFIG, WEIGHTS])
    files = [file for file in saved.rglob("*") if file.is_file()]
    assert len({file.stat().st_mode for file in files}) == 1
    config = json.loads((saved / CONFIG).read_text())
    digests = config.pop("digests") | {"config": config.pop("sha256")}
    assert set(digests) == {"weights", "adapter", "config"}
    assert config == {
        "schema": "isthmus-meta-tokens-1",
        "asking": 3,
        "mix": pytest.approx(0.4),
        "source": {"kind": "tokens", "reduction": [7, 5], "queries": [3, 5], "weight": [5, 4]},
        "target": {"kind": "heads", "shape": [3, 5, 4]},
        "card": {"made": "for a test"},
    }
    assert set(load_file(saved / WEIGHTS)) == {
        "mix_logit",
        *(f"source_aspects.reduction.{name}" for name in ("mean", "basis")),
        *(f"source_aspects.resampler.{name}" for name in ("queries", "weight")),
        *(f"target_aspects.{name}" for name in ("mean", "weight")),
    }


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, f"{ADAPTER}/config.json"])
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(name, rng, tmp_path):
    it = made(("tokens", "heads"), rng=rng)
    it.head.save(tmp_path / "head")
    expected, refused = vectors_of(load_meta_tokens(tmp_path / "head"), it), 0
    for _ in flipped(tmp_path / "head" / name, tries=60):
        try:
            found = vectors_of(load_meta_tokens(tmp_path / "head"), it)
            assert all(a.equal(b) for a, b in zip(found, expected, strict=True))
        except ValueError:
            refused += 1
    assert refused > 40


def test_the_adapter_of_another_head_is_refused(rng, tmp_path):
    for name in ("one", "other"):
        made(("tokens", "heads"), rng=rng, hubness=name == "one").head.save(tmp_path / name)
    (tmp_path / "one" / ADAPTER).rename(tmp_path / "aside")
    (tmp_path / "other" / ADAPTER).rename(tmp_path / "one" / ADAPTER)
    with pytest.raises(ValueError, match=r"adapter must hold what was saved; .*meta_tokens.json"):
        load_meta_tokens(tmp_path / "one")


def test_a_head_replaces_another_whole(saved, rng):
    made(NONE, rng=rng, asking=1).head.save(saved)
    assert load_meta_tokens(saved).vectors == 1
    assert sorted(file.name for file in saved.iterdir()) == sorted([ADAPTER, CONFIG, WEIGHTS])
    assert [file.name for file in saved.parent.iterdir()] == ["head"]


@pytest.mark.parametrize("broken", ["an adapter that cannot be saved", "a full disk"])
def test_a_save_that_fails_leaves_the_old_head(broken, saved, rng, monkeypatch):
    before = {file: file.read_bytes() for file in saved.rglob("*") if file.is_file()}
    head = made(NONE, rng=rng, asking=1).head
    if broken == "a full disk":

        def full(*args, **kwargs):
            raise OSError("no space left")

        monkeypatch.setattr("align._files.tensors.save_file", full)
    else:
        custom = nn.Identity()
        custom.dim = head.adapter.dim
        head.adapter.source_map = custom
    with pytest.raises((OSError, TypeError), match=r"no space left|must be made of the maps"):
        head.save(saved)
    assert {file: file.read_bytes() for file in saved.rglob("*") if file.is_file()} == before
    assert [file.name for file in saved.parent.iterdir()] == ["head"]


@pytest.mark.parametrize("foreign", ["notes.txt", "adapter/notes.txt", "adapter/runs/1.json"])
def test_a_folder_with_other_files_is_not_replaced(foreign, saved, rng):
    (saved / foreign).parent.mkdir(exist_ok=True)
    (saved / foreign).write_text("mine")
    with pytest.raises(FileExistsError, match=r"over another head.*(notes\.txt|adapter/runs)"):
        made(rng=rng).head.save(saved)
    assert (saved / foreign).read_text() == "mine"


def test_an_adapter_that_was_saved_under_the_name_adapter_is_not_replaced(rng, tmp_path):
    it = made(rng=rng)
    it.head.adapter.save(tmp_path / "models" / "adapter")
    with pytest.raises(FileExistsError, match=r"models' holds .'adapter', 'adapter/README\.md'"):
        it.head.save(tmp_path / "models")
    it.head.save(tmp_path / "models" / "head")


def test_a_head_is_not_saved_over_a_file(rng, tmp_path):
    (tmp_path / "head").write_text("mine")
    with pytest.raises(NotADirectoryError, match="it is a file"):
        made(rng=rng).head.save(tmp_path / "head")
    assert (tmp_path / "head").read_text() == "mine"


def test_values_that_are_not_finite_are_not_saved(rng, tmp_path):
    head = made(rng=rng).head
    head.card = {"mrr": float("nan")}
    with pytest.raises(ValueError, match="must be finite, as JSON has no others"):
        head.save(tmp_path / "head")
    head.card = {}
    with torch.no_grad():
        head.source_aspects.resampler.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"resampler.weight in the head must be finite; 1 of 20"):
        head.save(tmp_path / "head")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, ADAPTER])
def test_a_missing_file_is_named(name, saved):
    path = saved / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}"):
        load_meta_tokens(saved)


def test_a_missing_folder_or_an_adapter_alone_is_no_head(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="a head is a folder with"):
        load_meta_tokens(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"lacks {WEIGHTS}, {CONFIG}, {ADAPTER}"):
        load_meta_tokens(saved / ADAPTER)
    (saved / ADAPTER / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        load_meta_tokens(saved)


@pytest.mark.parametrize(
    "content",
    [b"", b"no safetensors", pickle.dumps({"mix_logit": 0.0})],
    ids=["empty", "text", "pickle"],
)
def test_damaged_weights_are_refused(content, saved):
    (saved / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        load_meta_tokens(saved)


def test_half_written_weights_are_refused(saved):
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        load_meta_tokens(saved)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00"], ids=repr)
def test_damaged_settings_are_refused(text, saved):
    (saved / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=r"meta_tokens\.json must (be JSON|have schema)"):
        load_meta_tokens(saved)


def test_another_schema_is_refused(saved):
    edit(saved / CONFIG, lambda data: data.update(schema="isthmus-meta-tokens-9"))
    with pytest.raises(ValueError, match="got 'isthmus-meta-tokens-9'"):
        load_meta_tokens(saved)


@pytest.mark.parametrize("change", [{"more": 1}, None], ids=["one more field", "a field less"])
def test_settings_with_other_fields_are_refused(change, saved):
    edit(saved / CONFIG, lambda data: data.update(change) if change else data.pop("asking"))
    with pytest.raises(ValueError, match="must have exactly the fields"):
        load_meta_tokens(saved)


HEADS = {"kind": "heads", "shape": [3, 5, 4]}
TOKENS = {"kind": "tokens", "reduction": [7, 5], "queries": [3, 5], "weight": [5, 4]}
SELECTED = {"kind": "selected", "reduction": [7, 5], "count": 3, "weight": [5, 4]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"asking": 2.0},
        {"asking": True},
        {"asking": "3"},
        {"mix": 1},
        {"mix": "0.4"},
        {"mix": None},
        {"card": []},
        {"source": []},
        {"source": "tokens"},
        {"source": {}},
        {"source": HEADS | {"kind": "exec"}},
        {"source": HEADS | {"kind": ["heads"]}},
        {"source": HEADS | {"shape": [3, 5]}},
        {"source": HEADS | {"shape": [3, -5, 4]}},
        {"source": HEADS | {"shape": [3, 5.0, 4]}},
        {"source": HEADS | {"shape": [3, 2**40, 4]}},
        {"source": HEADS | {"code": "import os"}},
        {"target": TOKENS | {"queries": [3, 6]}},
        {"target": TOKENS | {"weight": [6, 4]}},
        {"target": TOKENS | {"reduction": [7]}},
        {"target": TOKENS | {"reduction": None}},
        {"target": {"kind": "tokens", "queries": [3, 5], "weight": [5, 4]}},
        {"target": SELECTED | {"count": 0}},
        {"target": SELECTED | {"count": "3"}},
        {"target": SELECTED | {"weight": [6, 4]}},
    ],
    ids=json.dumps,
)
def test_settings_that_save_cannot_have_written_are_refused(wrong, saved):
    edit(saved / CONFIG, lambda data: data.update(wrong))
    with pytest.raises(ValueError, match=rf"meta_tokens.json.{next(iter(wrong))}.* must (be|have)"):
        load_meta_tokens(saved)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"asking": 9}, "asking must lie in"),
        ({"mix": 1.5}, "mix must lie in"),
        ({"source": None}, "both sides of a head need equally many aspects"),
        ({"target": HEADS | {"shape": [2, 5, 4]}}, "both sides of a head need equally many"),
    ],
    ids=str,
)
def test_settings_that_no_head_can_have_are_refused(wrong, message, saved):
    edit(saved / CONFIG, lambda data: data.update(wrong))
    with pytest.raises(ValueError, match=message):
        load_meta_tokens(saved)


def test_huge_sizes_in_damaged_settings_take_no_memory(saved):
    edit(saved / CONFIG, lambda data: data["target"].update(shape=[3, 2**30, 4]))
    with pytest.raises(ValueError, match="must be float32 of shape"):
        load_meta_tokens(saved)


def test_settings_of_another_shape_than_the_weights_are_refused(saved):
    edit(saved / CONFIG, lambda data: data["target"].update(shape=[3, 6, 4]))
    with pytest.raises(ValueError, match=r"target_aspects.mean .* must be float32 of shape \(6,\)"):
        load_meta_tokens(saved)
    edit(saved / CONFIG, lambda data: data.update(target=TOKENS))
    with pytest.raises(ValueError, match=r"missing: .'target_aspects\.reduction\.basis'"):
        load_meta_tokens(saved)


@pytest.mark.parametrize("damage", ["missing", "unknown", "nan", "float64"])
def test_weights_that_do_not_fit_the_settings_are_refused(damage, saved):
    tensors = load_file(saved / WEIGHTS)
    if damage == "missing":
        del tensors["mix_logit"]
        message = r"missing: .'mix_logit'"
    elif damage == "unknown":
        tensors["more"] = torch.zeros(1)
        message = r"unknown: .'more'"
    elif damage == "nan":
        tensors["mix_logit"] = torch.tensor(torch.nan)
        message = "mix_logit in .* must be finite"
    else:
        tensors["target_aspects.mean"] = tensors["target_aspects.mean"].double()
        message = "target_aspects.mean in .* must be float32"
    save_file(tensors, saved / WEIGHTS)
    with pytest.raises(ValueError, match=message):
        load_meta_tokens(saved)


def test_nothing_in_a_head_is_run(rng, tmp_path):
    mark, saved = tmp_path / "ran", tmp_path / "head"
    head = made(rng=rng).head
    head.card = {**head.card, "auto_map": {"AutoModel": "modeling.Head"}}
    head.save(saved)
    for name in ("__init__.py", "modeling.py", "adapter/modeling.py"):
        (saved / name).write_text(f"open({str(mark)!r}, 'w')")
    load_meta_tokens(saved)
    assert not mark.exists()


def test_heads_larger_than_any_tensor_are_refused(rng, tmp_path):
    made(("heads", "heads"), rng=rng).head.save(tmp_path / "head")
    edit(tmp_path / "head" / CONFIG, lambda data: data["source"].update(shape=[2**30] * 3))
    with pytest.raises(ValueError, match=r"source.shape must be 3 sizes whose product"):
        load_meta_tokens(tmp_path / "head")
