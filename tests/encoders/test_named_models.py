"""Models that a line names, shown without local paths."""

import pytest

from align.encoders.named_models import models_in, without_paths


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("text:a/b", ["a/b"]),
        ("text:a/b?layer=-2+image:/x/y/vit", ["a/b", "vit"]),
        ("image=image:/x/vit;text|code=text:minilm", ["vit", "minilm"]),
        ("python:package.module:encoder", ["package.module:encoder"]),
        (r"text:D:\models\a+b", ["a+b"]),
    ],
)
def test_models_are_found_in_every_form_of_a_line(spec, names):
    assert [each.name for each in models_in(spec)] == names


@pytest.mark.parametrize("model", ["/a/b", "./a", "../a", "~/a", "a/b/c", r"C:\a", r"a\b", "/"])
def test_what_looks_like_a_path_is_local(model):
    (named,) = models_in(f"text:{model}")
    assert named.is_local and not named.is_hub_id


def test_a_folder_that_is_there_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (hub,) = models_in("text:owner/name")
    assert hub.is_hub_id and not hub.is_local
    (tmp_path / "owner/name").mkdir(parents=True)
    (local,) = models_in("text:owner/name")
    assert local.is_local and local.name == "name"


def test_a_line_is_shown_with_the_last_names_of_folders():
    spec = "image=image:/home/me/vit?pooling=cls;text=text:a/b+text:~/x/mini"
    assert without_paths(spec) == "image=image:vit?pooling=cls;text=text:a/b+text:mini"
