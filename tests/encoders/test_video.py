"""Videos as frames of a toy encoder of pictures, whose vectors are mean colours."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av", reason="videos need PyAV: pip install 'isthmus[video]'")

import align
from align.encoders.image import open_rgb
from align.encoders.named_models import models_in
from align.encoders.spec import from_card
from tests.data.clips import BLUE, GREEN, RED, write_clip

SHOTS = [(RED, 10), (GREEN, 10), (BLUE, 10)]
WORDS = {"red": RED, "green": GREEN, "blue": BLUE}


def mean_colours(items):
    pixels = [np.asarray(open_rgb(item, row)).mean((0, 1)) for row, item in enumerate(items)]
    return np.array(pixels, "f4") / 255 - 0.4


def encoder(**options):
    pictures = align.CallableEncoder(mean_colours, name="mean-colours", dim=3, modality="image")
    return align.VideoEncoder(pictures, **options)


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4", SHOTS)


@pytest.fixture
def texts():
    def colours(words):
        return np.array([WORDS[word] for word in words], "f4") / 255 - 0.4

    return align.CallableEncoder(colours, name="colour-words", dim=3)


@pytest.fixture
def adapter(texts):
    """Fitted on colours as pictures have them: no clip among its pairs."""
    points = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)) - 0.4
    pairs = align.PairedEmbeddings(
        points,
        points,
        tuple(map(str, range(60))),
        tuple(map(str, range(60))),
        source_fingerprint=texts.fingerprint,
        target_fingerprint=encoder().image_encoder.fingerprint,
    )
    return align.fit(pairs, effort="fast")


def test_a_video_is_the_normalized_mean_of_its_frames(clip):
    frames = encoder(frames=3).encode_tokens([clip])
    assert frames.lengths.tolist() == [3]
    torch.testing.assert_close(frames.tokens.norm(dim=1), torch.ones(3))
    pooled = encoder(frames=3).encode([clip])
    expected = torch.nn.functional.normalize(frames.tokens.mean(0, keepdim=True), dim=1)
    torch.testing.assert_close(pooled, expected)


def test_the_fingerprint_changes_with_frames_and_sampling_but_not_with_pooling():
    plain = encoder().fingerprint
    assert encoder(frames=4).fingerprint != plain
    assert encoder(sampling="scenes").fingerprint != plain
    assert encoder(pooling="tokens").fingerprint == plain


def test_a_store_decodes_a_video_once_under_whatever_name(clip, tmp_path):
    store = align.EmbeddingStore(tmp_path / "store")
    first = store.encode_tokens(encoder(frames=3), [clip])
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    clip.unlink()

    def fails(items):
        raise AssertionError("nothing is encoded again")

    pictures = align.CallableEncoder(fails, name="mean-colours", dim=3, modality="image")
    again = store.encode_tokens(align.VideoEncoder(pictures, frames=3), [str(copy)])
    assert torch.equal(first.tokens, again.tokens)


@pytest.mark.parametrize("sampling", ["uniform", "scenes"])
def test_the_shot_that_is_asked_for_is_found_with_a_second_within_it(
    clip, tmp_path, texts, adapter, sampling
):
    other = write_clip(tmp_path / "other.mp4", [((200, 200, 20), 10), ((20, 200, 200), 10)])
    clips = encoder(frames=6, sampling=sampling, pooling="tokens")
    index = align.Index.create(tmp_path / "idx", adapter)
    retriever = align.Retriever(index, source=texts, target=clips)
    retriever.add(["other", "clip"], [other, clip])
    index.save()
    opened = align.Retriever(align.Index.open(tmp_path / "idx"), source=texts)
    for shot, word in enumerate(WORDS):
        best = opened.search([word], k=2)[0][0]
        assert best.id == "clip"
        assert best.modality == "video"
        assert shot <= best.second < shot + 1
    shown = opened.search(["blue"], k=1)[0]
    assert "at 0:02" in str(shown)
    assert "data:image/jpeg" in shown._repr_html_()
    assert "frame_seconds" not in repr(shown[0])


def test_a_video_of_one_vector_has_no_second(clip, tmp_path, texts, adapter):
    index = align.Index.create(tmp_path / "idx", adapter)
    retriever = align.Retriever(index, source=texts, target=encoder(frames=3))
    retriever.add(["clip"], [clip])
    assert retriever.search(["red"], k=1)[0][0].second is None


def test_an_adapter_of_other_pictures_refuses_the_frames(clip, tmp_path, texts, adapter):
    others = align.CallableEncoder(mean_colours, name="others", dim=3, modality="image")
    clips = align.VideoEncoder(others, pooling="tokens")
    index = align.Index.create(tmp_path / "idx", adapter)
    with pytest.raises(ValueError, match="was fitted on vectors of"):
        align.Retriever(index, source=texts, target=clips).add(["clip"], [clip])


def test_a_table_and_a_folder_hold_videos_and_bad_ones_are_named(clip, tmp_path):
    from align.data.items import read_items

    table = tmp_path / "pairs.csv"
    table.write_text("text,clip\na red clip,clip.mp4\nanother,clip.mp4\n")
    pairs = align.Pairs.from_csv(table, source="text", target="clip")
    assert pairs.target[0] == clip
    assert isinstance(pairs.target[0], Path)
    found = read_items(tmp_path)
    assert (found.items, found.modality) == ((clip,), ("video",))
    clip.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"video 'clip\.mp4' is unreadable"):
        align.Pairs.from_csv(table, source="text", target="clip")


def test_a_line_names_the_encoder_and_builds_it_again():
    spec = "video?frames=4&pooling=tokens:image:efficientnet-lite0?pooling=max"
    built = align.load_encoder(spec)
    assert (built.frames, built.pooling, built.image_encoder.pooling) == (4, "tokens", "max")
    assert built.spec == spec
    assert [(m.kind, m.name) for m in models_in(spec)] == [("image", "efficientnet-lite0")]


@pytest.mark.parametrize("spec", ["video:python:os:abort", "video?frames=2:python:os:abort"])
def test_a_card_cannot_run_code_behind_a_video(spec):
    with pytest.raises(ValueError):
        from_card({"target": spec}, "target")


def test_an_encoder_of_texts_is_no_encoder_of_frames(texts):
    with pytest.raises(TypeError, match="frames need an encoder of pictures"):
        align.VideoEncoder(texts)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="frames"):
        encoder(frames=0)
    with pytest.raises(ValueError, match="sampling"):
        encoder(sampling="best")
    with pytest.raises(ValueError, match="pooling"):
        encoder(pooling="max")
