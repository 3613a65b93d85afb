"""A text that names a picture is the picture, or is refused; it is never encoded as words."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from align import CallableEncoder, Embedder, Index, MixedEncoder, Retriever, wrap
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.data.picture_names import names_picture

ENDINGS = "jpg jpeg png gif webp bmp tif tiff heic avif jfif".split()
WIDTH = 4


def encoder_of(modality):
    """An encoder that gives the same vector to all, and keeps what it was given."""
    seen = []

    def function(items):
        seen.extend(items)
        return torch.ones(len(items), WIDTH)

    return CallableEncoder(
        function, name=f"all alike, {modality}", dim=WIDTH, modality=modality
    ), seen


def adapter(width=WIDTH):
    return Adapter(IdentityMap(width), IdentityMap(width), Card("identity", 1, width, width))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    Image.new("RGB", (4, 4)).save(path)
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_of_a_picture_is_known_in_any_case(ending):
    for name in (
        f"dog.{ending}",
        f"photos/My Dog.{ending.upper()}",
        f" C:\\pics\\d.{ending}\n"[:-1],
    ):
        assert names_picture(name)
    for start in ("http://example.org/dog", "HTTPS://example.org/a%20dog"):
        assert names_picture(f"{start}.{ending}")
        assert names_picture(f"{start}.{ending}?width=80#top")


@pytest.mark.parametrize(
    "text",
    [
        "a dog on a beach",
        "",
        "jpg",
        ".jpg",
        "what is a .png",
        "is photo.jpg a file?",
        '"photo.jpg"',
        "photo.jpg.txt",
        "photo.jpg\nand another line.png",
        "notes.md",
        "x" * 5000 + ".jpg",
        "a\0b.jpg",
        7,
        None,
        b"x.jpg",
    ],
)
def test_words_are_words(text):
    assert not names_picture(text)


def test_a_picture_of_another_name_is_known_by_its_content(picture, tmp_path):
    other = picture.rename(tmp_path / "no ending")
    assert names_picture(str(other)) and not names_picture(str(other), look=False)
    (tmp_path / "words").write_text("not a picture")
    assert not names_picture(str(tmp_path / "words")) and not names_picture(str(tmp_path))


def searches(encoder, tmp_path):
    """Every way to ask with one item."""
    index = Index.create(tmp_path / "idx", adapter(encoder.dim))
    retriever = Retriever(index, source=encoder, target=encoder)
    index.add(["a"], torch.ones(1, encoder.dim))
    wrapped = wrap(lambda queries, k: ([["a"]], [[1.0]]), adapter(encoder.dim), encoder)
    embedder = Embedder(adapter(encoder.dim), source=encoder, target=encoder)
    return {
        "Retriever.search": lambda item, **options: retriever.search([item], k=1, **options),
        "Retriever.add": lambda item, **options: retriever.add(["b"], [item], **options),
        "wrap": lambda item, **options: wrapped.search([item], k=1, **options),
        "Embedder.queries": lambda item, **options: embedder.queries([item], **options),
        "Embedder.gallery": lambda item, **options: embedder.gallery([item], **options),
    }


EACH_METHOD = pytest.mark.parametrize(
    "method", ["Retriever.search", "Retriever.add", "wrap", "Embedder.queries", "Embedder.gallery"]
)


@EACH_METHOD
@pytest.mark.parametrize("modality", ["text", "code"])
@pytest.mark.parametrize("name", ["photo.JPG", "https://example.org/dog.webp?x=1", "a picture.png"])
def test_where_no_encoder_takes_pictures_their_names_are_refused(tmp_path, method, modality, name):
    encoder, seen = encoder_of(modality)
    ask = searches(encoder, tmp_path)[method]
    with pytest.raises(ValueError, match=r'no encoder of pictures; item 0.*modality="text"'):
        ask(name)
    assert seen == []
    # Who means the text says so.
    ask(name, modality="text")
    assert seen == [name]


@EACH_METHOD
def test_an_encoder_of_pictures_gets_the_path(tmp_path, method, picture):
    encoder, seen = encoder_of("image")
    searches(encoder, tmp_path)[method](str(picture))
    searches(encoder, tmp_path)[method](picture) if method != "Retriever.add" else None
    assert set(seen) == {picture}


@EACH_METHOD
def test_a_mixed_encoder_sends_a_picture_to_its_encoder_of_pictures(tmp_path, method, picture):
    (words, read), (pictures, looked) = encoder_of("text"), encoder_of("image")
    ask = searches(MixedEncoder({"text": words, "image": pictures}), tmp_path)[method]
    ask(str(picture))
    assert (read, looked) == ([], [picture])
    if method != "Retriever.add":
        ask(str(picture), modality="image")
        ask(picture)
        ask(str(picture), modality="text")
        assert (read, looked) == ([str(picture)], [picture] * 3)


@EACH_METHOD
def test_a_mixed_encoder_without_one_of_pictures_refuses_their_names(tmp_path, method):
    (words, read), (code, _) = encoder_of("text"), encoder_of("code")
    ask = searches(MixedEncoder({"text": words, "code": code}), tmp_path)[method]
    with pytest.raises(ValueError, match="no encoder of pictures"):
        ask("dog.png")
    ask("dog.png", modality="text")
    assert read == ["dog.png"]


@EACH_METHOD
def test_the_address_of_a_picture_is_refused_where_pictures_are_files(tmp_path, method):
    encoder, _ = encoder_of("image")
    with pytest.raises(ValueError, match=r"files on this machine; item 0 is an address"):
        searches(encoder, tmp_path)[method]("https://example.org/dog.jpg")


@EACH_METHOD
def test_a_path_is_refused_by_an_encoder_of_texts(tmp_path, method):
    encoder, seen = encoder_of("text")
    with pytest.raises(ValueError, match=r"must suit the .* encoder, whose modality is 'text'"):
        searches(encoder, tmp_path)[method](Path("dog.jpg"))
    assert seen == []
