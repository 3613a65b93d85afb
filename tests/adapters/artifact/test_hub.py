"""Adapters for others: by a hub id, and with a README."""

from dataclasses import replace

import huggingface_hub
import pytest
import yaml

import align
from align.adapters.artifact.files import FILES
from align.adapters.card import Candidate
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference


def test_a_hub_id_downloads_only_the_four_files(saved, monkeypatch, square):
    asked = []

    def snapshot_download(repo_id, *, revision, allow_patterns):
        asked.append((repo_id, revision, sorted(allow_patterns)))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    adapter = align.load("somebody/photos-to.text_1", revision="v1")
    assert asked == [("somebody/photos-to.text_1", "v1", sorted(FILES))]
    assert adapter.gallery(square[1]).equal(align.load(saved).gallery(square[1]))


def test_a_local_folder_goes_before_a_hub_id(saved, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    monkeypatch.chdir(saved.parent.parent)
    assert align.load(f"{saved.parent.name}/adapter").card.method.startswith("rcca")


def test_a_revision_of_a_local_folder_is_refused(saved):
    with pytest.raises(ValueError, match="revision belongs to a hub id; got revision 'v1'"):
        align.load(saved, revision="v1")


@pytest.mark.parametrize(
    "name", ["nowhere", "./not/here", "a/b/c", "/not/here", "../not", "", "a/"]
)
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(FileNotFoundError, match=r"is no folder here|lacks model.safetensors"):
        align.load(name)


def test_a_path_is_never_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="'owner/name' is no folder here and no such name"):
        align.load(type(tmp_path)("owner/name"))


def test_a_hub_id_out_of_reach_is_refused_with_the_reason():
    # The tests run offline, so the real client is asked and cannot answer.
    with pytest.raises(FileNotFoundError, match=r"'isthmus-tests/none' .* LocalEntryNotFoundError"):
        align.load("isthmus-tests/none")


def readme_of(adapter, folder):
    adapter.save(folder)
    text = (folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_the_readme_says_to_the_hub_and_to_people_what_this_is(square, tmp_path):
    found = with_reference(rcca(*square), square, REFERENCE_SETS["nnn"])
    found.card = replace(
        found.card,
        n_groups=16,
        folds=(5, 2),
        seed=7,
        fold_gallery=16,
        source_fingerprint="text:a|b",
        verdict="rcca scored best\nof 2 maps",
        candidates=(
            Candidate("map", "a|b", 0.25, 0.2, 0.3, 0.5),
            Candidate("map", "rcca", 0.5, 0.45, 0.55, 0.75, True, 0.06, 0.625),
        ),
    )
    header, body = readme_of(found, tmp_path / "adapter")
    assert header["library_name"] == "isthmus" and "license" not in header
    assert "isthmus" in header["tags"]
    for line in (
        "| source | 6 | `text:a\\|b` |",
        "| target | 6 | not recorded |",
        'queries = adapter.queries(x, side="source")  # (n, 6) -> (n, 7)',
        "Fitted on 80 pairs in 16 groups. Chosen on 5 folds, drawn 2 times from seed 7.",
        "rcca scored best of 2 maps",
        "| map | a\\|b | 0.2500 | 0.2000 to 0.3000 |  | 0.5000 |  |  |",
        "| map | rcca | 0.5000 | 0.4500 to 0.5500 | 0.0600 | 0.7500 | 0.6250 | yes |",
    ):
        assert line in body.splitlines()
    assert "The weights hold 80 of the training pairs" in body


def test_the_readme_of_a_bare_card_makes_no_claims(square, tmp_path):
    header, body = readme_of(procrustes(*square), tmp_path / "adapter")
    assert header["tags"]
    assert "(n, 6) -> (n, 6)" in body
    assert "Nothing else: the method was named by hand." in body
    assert "training pairs, projected" not in body and "{" not in body


def test_the_example_of_the_readme_runs(square, tmp_path):
    _, body = readme_of(rcca(*square), tmp_path / "adapter")
    code = body.split("```python\n")[1].split("```")[0]
    names = {"x": square[0], "y": square[1]}
    exec(code.replace("owner/name", str(tmp_path / "adapter")), names)
    assert names["scores"].shape == (80, 80)


def test_texts_of_others_are_shown_in_the_readme_and_mark_nothing_up(square, tmp_path):
    found = procrustes(*square)
    bad = "a`b` <script>x</script> [here](http://evil) ![p](q) | **b** \x1b[31m\n# head\n---"
    found.card = replace(
        found.card, method=bad, source_fingerprint=bad, verdict=bad * 100,
        candidates=(Candidate("map", bad, 0.25, 0.2, 0.3, 0.5),),
    )  # fmt: skip
    header, body = readme_of(found, tmp_path / "adapter")
    assert header["library_name"] == "isthmus"
    for mark in ("<script>", " [here](", "| **", "\x1b", "\n# head"):
        assert not any(
            mark in line for line in body.splitlines() if not line.startswith("| source")
        )
    assert "&lt;script&gt;" in body and max(map(len, body.splitlines())) < 10_000
    assert "| source | 6 | `` a`b` <script>" in body  # between backticks, which mark nothing up
