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

numbers = align.CallableEncoder(
    lambda texts: [[float(text) + 1, *(5 * [float(text) % 3 - 1])] for text in texts],
    name="numbers", dim=6,
)  # fmt: skip


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
        "| source | not recorded | 6 | `text:a\\|b` |",
        "| target | not recorded | 6 | not recorded |",
        "| this adapter | 0.5000 | 0.4500 to 0.5500 | 0.7500 |",
        "| chance: a random order | 0.0600 | | 0.6250 |",
        "Pairs that were held out of the training pairs in turn: 5 folds of 80 pairs, "
        "drawn 2 times. One item is looked for among",
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
    assert "no number is given" in body and "model-index" not in header
    assert "base_model" not in header and "Raw items" not in body


HUB = "sentence-transformers/all-MiniLM-L6-v2"


def held_out(adapter, **fields):
    adapter.card = replace(
        adapter.card,
        folds=(5, 1),
        fold_gallery=16,
        candidates=(Candidate("map", "rcca", 0.5, 0.45, 0.55, 0.75, True, 0.06, 0.625),),
        **fields,
    )
    return adapter


def test_the_hub_reads_base_models_and_held_out_results(square, tmp_path):
    encoders = {"source": f"text:{HUB}?layer=-2", "target": "image:facebook/dinov2-small+text:tiny"}
    names = ("caption", "photo|file")
    held_out(rcca(*square), encoders=encoders, side_names=names).save(tmp_path / "adapter")
    card = huggingface_hub.ModelCard.load(tmp_path / "adapter/README.md")
    assert card.data.base_model == [HUB, "facebook/dinov2-small"]
    assert card.data.pipeline_tag == "feature-extraction" and card.data.model_name
    results = {each.metric_type: each for each in card.data.eval_results}
    assert all(isinstance(each, huggingface_hub.EvalResult) for each in results.values())
    assert results["mean_reciprocal_rank"].metric_value == 0.5
    assert results["recall_at_10"].metric_value == 0.75
    assert (
        results["recall_at_10"].dataset_name == "Held-out folds of 80 training pairs, gallery of 16"
    )
    body = card.content
    assert "| target: photo\\|file | image" in body
    link = f"text [{HUB}](https://huggingface.co/{HUB}) (`layer=-2`)"
    assert f"| source: caption | {link} | 6 |" in body
    assert f"# isthmus adapter: {HUB} → facebook/dinov2-small + tiny" in body
    assert "retriever.search([query], k=5)[0]:  # a text" in body
    assert body.count("<details>") == body.count("</details>") == 1


def test_no_local_path_stands_in_the_readme_and_the_reader_is_told_where_one_does(square, tmp_path):
    folder = tmp_path / "secret" / "my-minilm"
    folder.mkdir(parents=True)
    encoders = {
        "source": f"text:{folder}?layer=-2",
        "target": r"image=image:C:\Users\me\dino;text=text:~/models/other/",
        "instruction": "text:./here",
    }
    adapter = held_out(rcca(*square), encoders=encoders)
    adapter.save(tmp_path / "adapter")
    text = (tmp_path / "adapter/README.md").read_text()
    assert not any(word in text for word in ("secret", str(tmp_path), "Users", "~", "./here"))
    assert "| source | text `my-minilm` (a local folder) (`layer=-2`) | 6 |" in text
    assert "image `dino` (a local folder) + text `other` (a local folder)" in text
    assert "the local folders of `my-minilm`, `dino`, `other`, `here`" in text
    assert "secret" in (tmp_path / "adapter/card.json").read_text()  # what search needs, and said
    assert "base_model" not in text


def test_a_card_with_python_code_says_that_it_is_run_on_trust_only(square, tmp_path):
    encoders = {"source": "python:my.module:texts", "target": f"text:{HUB}"}
    _, body = readme_of(held_out(rcca(*square), encoders=encoders), tmp_path / "adapter")
    assert "align.Retriever(index, trust=True)" in body and "search idx QUERY --trust" in body
    assert "an item as the encoder takes it" in body


def test_the_raw_item_example_of_the_readme_runs(square, tmp_path, monkeypatch):
    spec = "python:tests.adapters.artifact.test_hub:numbers"
    encoders = {"source": spec, "target": spec}
    _, body = readme_of(held_out(rcca(*square), encoders=encoders), tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    code = body.split("```python\n")[1].split("```")[0]
    items = [f"{row}" for row in range(20)]
    names = {"ids": items, "items": items, "query": "7"}
    exec(code.replace("owner/name", str(tmp_path / "adapter")), names)
    assert names["hit"].id in items


def test_the_example_of_the_readme_runs(square, tmp_path):
    _, body = readme_of(rcca(*square), tmp_path / "adapter")
    code = body.split("```python\n")[-1].split("```")[0]
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
    assert (
        "| source | not recorded | 6 | `` a`b` <script>" in body
    )  # between backticks, which mark nothing up
