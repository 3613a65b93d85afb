"""The folder that readers of the pages are told to have, made once."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import align


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("caption", "image", "group"), *rows])


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    photos = folder / "photos"
    photos.mkdir()
    pairs = align.emoji_pairs().take(range(0, 1911, 8))
    rows, several = [], []
    for caption, picture, group in zip(pairs.source, pairs.target, pairs.groups, strict=True):
        shutil.copy(picture, photos)
        image = f"photos/{picture.name}"
        rows.append((caption, image, group))
        several += [
            (each.strip(), image, group) for each in caption.replace(":", ",").split(",")[:2]
        ]
    write(folder / "pairs.csv", rows[:180])
    write(folder / "test.csv", rows[180:])
    write(folder / "captions.csv", several)
    text, image = map(align.load_encoder, ("text:minilm", "image:efficientnet-lite0"))
    train = align.Pairs.from_csv(folder / "pairs.csv", source="caption", target="image")
    align.fit(train.encode(text, image), effort="fast").save(folder / "my-adapter")
    rng = np.random.default_rng(0)
    captions = rng.standard_normal((200, 16))
    np.savez(
        folder / "embeddings.npz", source=captions, target=captions @ rng.standard_normal((16, 24))
    )
    return folder
