"""Captioned photos (Flickr8k) and translated captions (Multi30k), read below ISTHMUS_DATA."""

from __future__ import annotations

from typing import Literal

from align._files.cache import unpacked
from align.data.pairs import Pairs
from experiments.datasets.folders import check_choice, data_folder, read_rows

_MULTI30K = {"train": "train", "val": "val", "test": "test_2016_flickr"}


def flickr8k(
    split: Literal["train", "dev"], *, captions: int = 1, language: Literal["en", "ar"] = "en"
) -> Pairs:
    """Captions and photos of Flickr8k; captions of one photo share a group.

    The photos are squashed to 192 x 192 pixels. Non-commercial research and education only.

    Args:
        split: ``"train"``, 6,000 photos, or ``"dev"``, 1,000.
        captions: How many captions of each photo, the first ones in the file: 1 to 5 in English,
            1 to 3 in Arabic.
        language: ``"en"`` or ``"ar"``.

    Returns:
        ``source`` holds captions, ``target`` paths of JPEG files, ids are ``"photo.jpg#0"``.

    Raises:
        FileNotFoundError: The data are not there.
        ValueError: An argument is out of range.
    """
    check_choice("split", split, ("train", "dev"))
    check_choice("language", language, ("en", "ar"))
    most = {"en": 5, "ar": 3}[language]
    if not 1 <= captions <= most:
        raise ValueError(
            f"captions must lie in [1, {most}], what each photo has in {language!r}; "
            f"got {captions}. Ask for fewer."
        )
    folder = data_folder("flickr8k")
    photos = unpacked(folder / f"images_{split}.zip", f"flickr8k-{split}")
    rows = [
        (row["file"], number, caption)
        for row in read_rows(folder / "captions.jsonl.gz")
        if row["split"] == split
        for number, caption in enumerate(row[language][:captions])
    ]
    return Pairs.from_lists(
        [caption for _, _, caption in rows],
        [photos / file for file, _, _ in rows],
        ids=[f"{file}#{number}" for file, number, _ in rows],
        groups=[file for file, _, _ in rows],
    )


def multi30k(
    split: Literal["train", "val", "test"], *, target: Literal["fr", "de", "cs"] = "fr"
) -> Pairs:
    """English captions of Flickr30k photos and their human translations.

    Args:
        split: ``"train"``, 29,000 pairs, ``"val"``, 1,014, or ``"test"``, the 1,000 of 2016.
        target: ``"fr"``, ``"de"`` or ``"cs"``.

    Returns:
        ``source`` is English, ``target`` the translation, ids are photo file names. To use them
        beside Flickr8k, drop the ids in ``shared_photos()``.

    Raises:
        FileNotFoundError: The data are not there.
        ValueError: There is no such split or language.
    """
    check_choice("split", split, tuple(_MULTI30K))
    check_choice("target", target, ("fr", "de", "cs"))
    rows = read_rows(data_folder("multi30k") / f"{_MULTI30K[split]}.jsonl.gz")
    return Pairs.from_lists(
        [row["en"] for row in rows],
        [row[target] for row in rows],
        ids=[row["id"] for row in rows],
    )


def shared_photos() -> frozenset[str]:
    """Multi30k ids, of any split, whose photo is also in Flickr8k.

    Flickr numbers its photos: ``1000268201.jpg`` of Flickr30k is ``1000268201_693b08cb0e.jpg`` of
    Flickr8k.

    Raises:
        FileNotFoundError: One of the two data sets is not there.
    """
    captions = read_rows(data_folder("flickr8k") / "captions.jsonl.gz")
    numbers = {row["file"].split("_")[0] for row in captions}
    folder = data_folder("multi30k")
    ids = (
        row["id"] for name in _MULTI30K.values() for row in read_rows(folder / f"{name}.jsonl.gz")
    )
    return frozenset(each for each in ids if each.removesuffix(".jpg") in numbers)
