import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import align
from align._files.tensors import digest_of
from align.adapters.adapter import Adapter
from align.adapters.artifact.files import FILES, json_digest, sealed
from align.adapters.card import Card
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.maps.linear import IdentityMap, LinearMap
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference
from tests.adapters.every_kind import METHODS


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("reference", REFERENCE_SETS.values(), ids=REFERENCE_SETS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_loaded_adapter_gives_the_same_bits(method, reference, square, tmp_path, rng):
    adapter = with_reference(method(*square), square, reference)
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    for n in (1, 50):
        x, y = torch.randn(n, 6, generator=rng), torch.randn(n, 6, generator=rng)
        assert again.source(x).equal(adapter.source(x))
        assert again.target(y).equal(adapter.target(y))
        for side, vectors in (("source", x), ("target", y)):
            assert again.queries(vectors, side=side).equal(adapter.queries(vectors, side=side))
            assert again.gallery(vectors, side=side).equal(adapter.gallery(vectors, side=side))
    assert again.card == adapter.card


def test_an_adapter_made_in_inference_mode_is_saved_and_can_be_moved(square, tmp_path):
    with torch.inference_mode():
        adapter = with_reference(rcca(*square), square, REFERENCE_SETS["nnn"])
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.double().state_dict()["source_map.weight"].dtype == torch.float64
    assert again.float().gallery(square[1]).equal(adapter.gallery(square[1]))


def test_saving_twice_writes_the_same_bytes(saved, tmp_path):
    align.load(saved).save(tmp_path / "again")
    for name in FILES:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_folder_holds_four_files_that_others_may_read(saved):
    assert sorted(file.name for file in saved.iterdir()) == sorted(FILES)
    assert len({file.stat().st_mode for file in saved.iterdir()}) == 1
    weights = load_file(saved / "model.safetensors")
    assert set(weights) == {
        *(f"{side}_map.{name}" for side in ("source", "target") for name in ("mean", "weight")),
        *(f"reference.{side}_reference" for side in ("source", "target")),
        *(f"training_items.{side}" for side in ("source", "target")),
    }
    config = json.loads((saved / "config.json").read_text())
    digests = config.pop("digests") | {"config": config.pop("sha256")}
    assert set(digests) == {"weights", "card", "config"}
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests.values())
    assert config == {
        "schema": "isthmus-adapter-2.1",
        "source_map": {"kind": "linear", "d_in": 6, "dim": 6, "root": False, "parts": None},
        "target_map": {"kind": "linear", "d_in": 6, "dim": 6, "root": False, "parts": None},
        "reference": {
            "rows": 80,
            "expansion": {"weight": 0.15, "sharpness": 20.0},
            "hubness": {"kind": "csls", "k": 10},
            "query_expansion": None,
        },
        "preference": None,
        "training_items": {"pairs": 80, "d_source": 6, "d_target": 6},
        "calibration": None,
        "statistics": None,
    }


def test_loaded_tensors_do_not_depend_on_the_file(saved, square):
    adapter = align.load(saved)
    expected = adapter.gallery(square[1])
    shutil.rmtree(saved)
    assert adapter.gallery(square[1]).equal(expected)


def test_saving_over_an_adapter_replaces_it(saved, square):
    procrustes(*square).save(saved)
    assert align.load(saved).card.method == "procrustes"
    assert align.load(saved).reference is None
    assert [file.name for file in saved.parent.iterdir()] == ["adapter"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path, square):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds \['thesis.tex'\] too. Choose another"):
        procrustes(*square).save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_refused(tmp_path, square):
    (tmp_path / "taken").touch()
    with pytest.raises(NotADirectoryError, match="must be free or a folder; it is a file"):
        procrustes(*square).save(tmp_path / "taken")


def test_a_map_of_another_kind_is_not_saved(tmp_path):
    custom = nn.Linear(3, 3)
    custom.dim = custom.d_in = 3
    adapter = Adapter(custom, IdentityMap(3), Card("custom", 2, 3, 3))
    with pytest.raises(TypeError, match=r"made of the maps in align.adapters.maps; got a Linear"):
        adapter.save(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_loaded_is_not_saved(tmp_path, square):
    adapter = rcca(*square)
    with pytest.raises(ValueError, match=r"source_map.mean in the adapter must be float32"):
        rcca(*square).double().save(tmp_path / "adapter")
    adapter.source_map.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"source_map.weight .* must be finite; 1 of 36 entries"):
        adapter.save(tmp_path / "adapter")
    adapter = Adapter(IdentityMap(3), IdentityMap(3), Card("identity", 2, 3, 4))
    with pytest.raises(
        ValueError, match=r"widths that card.json names, \[3, 4\]; they take \[3, 3"
    ):
        adapter.save(tmp_path / "adapter")
    adapter = Adapter(
        IdentityMap(3), IdentityMap(3), Card("a", 2, 3, 3, seconds={"map": torch.inf})
    )
    with pytest.raises(ValueError, match="number of a card and of settings must be finite"):
        adapter.save(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "card.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}. Pass the folder that adapter.save"):
        align.load(saved)


def test_the_readme_is_for_people_and_may_be_missing(saved, square):
    (saved / "README.md").unlink()
    assert align.load(saved).source(square[0]).isfinite().all()


DOMAINS = ("source_domain", "target_domain")
CONFIDENCES = {
    f"{side}_confidence": {"kept": 9, "sharpness": 1.0, "spread": 0.1, "gallery": 9}
    for side in ("source", "target")
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(schema="isthmus-adapter-9"),
            "schema 'isthmus-adapter-2.1'; got 'isth",
        ),
        (lambda c: c.pop("schema"), "schema 'isthmus-adapter-2.1'; got None"),
        (lambda c: c.update(colour=1), r"config.json must have exactly.*unknown: \['colour'\]"),
        (
            lambda c: c.pop("reference"),
            r"config.json must have exactly .* missing: \['reference'\]",
        ),
        (
            lambda c: c.update(reference=[]),
            r"config.json.reference must be an object; got \[\]",
        ),
        (lambda c: c["source_map"].update(colour=1), r"source_map must .* unknown: \['colour'\]"),
        (lambda c: c["source_map"].pop("root"), r"source_map must .* missing: \['root'\]"),
        (lambda c: c["source_map"].update(root=1), "source_map.root must be true or false; got 1"),
        (
            lambda c: c["source_map"].update(kind="spline"),
            "source_map.kind must be linear, affine, identity",
        ),
        (
            lambda c: c["source_map"].update(d_in=0),
            r"source_map.d_in must be a whole number in \[1",
        ),
        (lambda c: c["source_map"].update(d_in=2**40), r"source_map.d_in must be a whole number"),
        (
            lambda c: c["source_map"].update(d_in=True),
            "source_map.d_in must be a whole .* got True",
        ),
        (
            lambda c: c["source_map"].update(d_in=7),
            r"card.json names, \[6, 6\]; they take \[7, 6\]",
        ),
        (lambda c: c["source_map"].update(dim=7), "must end in one space; got widths 7 and 6"),
        (
            lambda c: c["reference"].update(rows=81),
            r"reference.source_reference .* shape \(81, 6\); got .*\(80, 6",
        ),
        (
            lambda c: c["reference"].update(rows="80"),
            "reference.rows must be a whole number.*got '80'",
        ),
        (
            lambda c: c["training_items"].update(pairs=81),
            r"training_items.source .* shape \(81, 8\); got .*\(80, 8",
        ),
        (lambda c: c["training_items"].update(pairs=0), "training_items.pairs must be a whole"),
        (
            lambda c: c["training_items"].update(d_source=2**30),
            r"training_items must be of at most the widths .*\[6, 6\]; got \[1073741824, 6\]",
        ),
        (lambda c: c["training_items"].pop("d_target"), r"missing: \['d_target'\]"),
        (
            lambda c: c.update(calibration={**CONFIDENCES, **dict.fromkeys(DOMAINS, 3)}),
            r"calibration.source_domain must be an object; got 3",
        ),
        (
            lambda c: c.update(calibration={}),
            r"calibration must have exactly .*missing: \['source_confidence', 'source_domain'",
        ),
        (
            lambda c: c.update(
                calibration={
                    **CONFIDENCES,
                    **{side: {"a": 1, "d_in": 7, "kept": 9} for side in DOMAINS},
                }
            ),
            r"calibration must be of items of the widths .*\[6, 6\]; got \[7, 7\]",
        ),
        (
            lambda c: c["reference"]["hubness"].update(kind="qb"),
            "reference.hubness.kind must be nnn, csls, inverted_softmax or",
        ),
        (
            lambda c: c["reference"]["hubness"].update(k=1.5),
            "reference.hubness.k must be a whole number",
        ),
        (
            lambda c: c["reference"]["hubness"].update(a=0),
            r"reference.hubness must .* unknown: \['a'\]",
        ),
        (
            lambda c: c["reference"]["expansion"].update(weight=-1),
            "weight must be finite and at least 0",
        ),
        (lambda c: c["reference"]["expansion"].update(weight=1e999), "Infinity is no JSON"),
        (
            lambda c: c.update(
                source_map={"kind": "weighted", "slot": 2, "inner": c["source_map"]}
            ),
            "source_map.slot must be one of \\[0, 1\\]; got 2",
        ),
        (
            lambda c: c.update(
                source_map={"kind": "weighted", "slot": 0, "inner": {"kind": "identity", "dim": 6}}
            ),
            "source_map.inner.kind must be linear; got 'identity'",
        ),
        (
            lambda c: c.update(source_map={"kind": "blend", "weights": [1], "maps": [{}]}),
            "source_map.maps.0.kind must be linear, affine, identity, .*got None",
        ),
        (
            lambda c: c.update(source_map={"kind": "blend", "weights": [], "maps": []}),
            r"source_map.weights must be a list with an entry; got \[\]",
        ),
    ],
)
def test_a_config_that_was_changed_is_refused(saved, change, message):
    edit(saved / "config.json", change)
    with pytest.raises(ValueError, match=message):
        align.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(schema="isthmus-card-9"),
            "schema 'isthmus-card-1.2'; got 'isthmus-card-9",
        ),
        (lambda c: c.update(colour=1), r"a card must have exactly .* unknown: \['colour'\]"),
        (lambda c: c.pop("seed"), r"a card must have exactly .* missing: \['seed'\]"),
    ],
)
def test_a_card_that_was_changed_is_refused(saved, change, message):
    edit(saved / "card.json", change)
    with pytest.raises(ValueError, match=message):
        align.load(saved)


@pytest.mark.parametrize("text", ['{"schema": ', '"schema"', "[1]", b"\xff\xfe", "[" * 100_000])
def test_json_that_is_damaged_is_refused(saved, text):
    (saved / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"config.json must be (JSON in UTF-8)|must have schema"):
        align.load(saved)


def less(weights):
    del weights["source_map.mean"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update(extra=torch.ones(1)), r"model.safetensors must .*unknown: \['extra'\]"),
        (less, r"model.safetensors must hold exactly .* missing: \['source_map.mean'\]"),
        (
            lambda w: w.update({"source_map.weight": torch.ones(6, 5)}),
            r"source_map.weight .* must be float32 of shape \(6, 6\); got torch.float32 .*\(6, 5\)",
        ),
        (
            lambda w: w.update({"source_map.weight": torch.ones(6, 6).half()}),
            r"source_map.weight .* must be float32 of shape \(6, 6\); got torch.float16",
        ),
        (
            lambda w: w.update({"reference.target_reference": torch.full((80, 6), torch.inf)}),
            "reference.target_reference in model.safetensors must be finite; 480 of 480 entries",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(saved, change, message):
    weights = {name: tensor.clone() for name, tensor in load_file(saved / FILES[0]).items()}
    change(weights)
    save_file(weights, saved / FILES[0])
    with pytest.raises(ValueError, match=message):
        align.load(saved)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_weights_that_were_cut_off_are_refused(saved, keep):
    whole = (saved / FILES[0]).read_bytes()
    (saved / FILES[0]).write_bytes(whole[:keep])
    with pytest.raises(ValueError, match=r"must be a whole safetensors file; reading it failed"):
        align.load(saved)


def test_a_pickle_is_not_read(saved):
    torch.save({"source_map.weight": torch.ones(6, 6)}, saved / FILES[0])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        align.load(saved)


def test_a_linear_map_of_a_strided_weight_gives_the_same_bits(tmp_path, rng):
    weight = torch.randn(33, 65, generator=rng).T
    adapter = Adapter(
        LinearMap(torch.zeros(65), weight), IdentityMap(33), Card("strided", 2, 65, 33)
    )
    adapter.save(tmp_path / "adapter")
    x = torch.randn(17, 65, generator=rng)
    assert align.load(tmp_path / "adapter").source(x).equal(adapter.source(x))


def test_fields_that_a_newer_minor_version_added_are_ignored(saved, square):
    expected = align.load(saved).gallery(square[1])
    card = json.loads((saved / "card.json").read_text())
    card.update(schema="isthmus-card-1.3", more=1)
    (saved / "card.json").write_text(json.dumps(card))
    config = json.loads((saved / "config.json").read_text())
    config.update(schema="isthmus-adapter-2.2", more={"a": [1]})
    config["source_map"]["more"] = None
    tensors = {**load_file(saved / "model.safetensors"), "more.numbers": torch.ones(2)}
    save_file(tensors, saved / "model.safetensors", {"format": "pt"})
    config["digests"].update(card=json_digest(card), weights=digest_of(tensors))
    del config["sha256"]
    (saved / "config.json").write_text(sealed(config))
    assert align.load(saved).gallery(square[1]).equal(expected)
    edit(saved / "config.json", lambda c: c.update(schema="isthmus-adapter-3"))
    with pytest.raises(ValueError, match=r"got 'isthmus-adapter-3'. It is newer: install"):
        align.load(saved)
