"""Rebuild the emoji of ``align.emoji_pairs`` from two npm packages: pictures, names, groups.

    python -m experiments.build_emoji [GOOGLE_PACKAGE EMOJIBASE_PACKAGE]

Without arguments the packages are fetched by ``npm pack`` at the versions below. The same inputs
give the same bytes under the same Pillow and zlib, because palettes and compression are theirs;
the shipped pack was made with Pillow 13.0.0, whose wheel uses zlib-ng.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from align._files.atomic import atomic_file
from align.data.examples.emoji import PACK
from experiments.emoji_groups import VARIATION, groups

GOOGLE = "emoji-datasource-google@16.0.0"
EMOJIBASE = "emojibase-data@17.0.0"
LANGUAGES = ("en", "fr", "ja")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def fetch(package: str, folder: Path) -> Path:
    """Download one npm package and unpack it below ``folder``; returns its ``package`` folder."""
    done = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder), package],
        check=True,
        capture_output=True,
        text=True,
    )
    archive = folder / done.stdout.strip().splitlines()[-1]
    into = folder / archive.stem
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return into / "package"


def by_code(folder: Path, language: str) -> dict[str, dict[str, Any]]:
    """Emojibase entries, skin tones included, by code points without variation selectors."""
    data = json.loads((folder / language / "data.json").read_text(encoding="utf-8"))
    return {
        _plain(each["hexcode"]): each for entry in data for each in [entry, *entry.get("skins", ())]
    }


def _plain(code: str) -> str:
    return "-".join(point for point in code.split("-") if point != VARIATION)


def palette_png(image: Image.Image) -> bytes:
    """The picture as a PNG of at most 128 colours with alpha; about 3 grey levels from the input.

    Colours hidden under full transparency are cleared first, so that they take no palette entry.
    """
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    small = Image.fromarray(pixels).quantize(128, method=Image.Quantize.FASTOCTREE)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip of ``files`` whose bytes depend on names and contents alone: sorted and undated.

    Pictures are stored, since they are compressed already; everything else is deflated.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, whatever the machine
            info.external_attr = 0o644 << 16
            method = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name], compress_type=method, compresslevel=9)
    return out.getvalue()


def joined(google: Path, emojibase: Path) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """One row per emoji in CLDR order, with names and keywords in each language; and the pictures.

    Raises:
        ValueError: An emoji has no name in one of the languages.
    """
    entries = json.loads((google / "emoji.json").read_text(encoding="utf-8"))
    entries.sort(key=lambda entry: entry["sort_order"])
    words = {language: by_code(emojibase, language) for language in LANGUAGES}
    missing = [
        f"{entry['unified']} ({language})"
        for entry in entries
        for language in LANGUAGES
        if _plain(entry["unified"]) not in words[language]
    ]
    if missing:
        raise ValueError(
            f"every emoji needs a name in {', '.join(LANGUAGES)}; {len(missing)} have none: "
            f"{', '.join(missing[:5])}. Use the package versions {GOOGLE} and {EMOJIBASE}."
        )
    folder = google / "img" / "google" / "64"
    images = [Image.open(folder / entry["image"]).convert("RGBA") for entry in entries]
    rows = []
    for entry in entries:
        said = {language: words[language][_plain(entry["unified"])] for language in LANGUAGES}
        rows.append(
            {
                "id": entry["unified"].lower(),
                "file": entry["image"],
                "emoji": said["en"]["emoji"],
                "category": entry["category"],
                "subcategory": entry["subcategory"],
                "group": "",
                "name": {language: said[language]["label"] for language in LANGUAGES},
                "keywords": {language: said[language]["tags"] for language in LANGUAGES},
            }
        )
    found = groups(
        [entry["unified"] for entry in entries],
        [row["name"]["en"] for row in rows],
        images,
        [entry["subcategory"] == "country-flag" for entry in entries],
    )
    for row, group in zip(rows, found, strict=True):
        row["group"] = group
    return rows, images


def build(google: Path, emojibase: Path) -> bytes:
    """The bytes of the pack made from two unpacked npm packages."""
    rows, images = joined(google, emojibase)
    files = {row["file"]: palette_png(image) for row, image in zip(rows, images, strict=True)}
    files["emoji.jsonl"] = _lines(rows)
    return packed(files)


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def main() -> None:
    """Write the pack and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", type=Path, metavar="FOLDER")
    folders = parser.parse_args().packages
    if len(folders) not in (0, 2):
        parser.error("give both package folders, or none to download them")
    with tempfile.TemporaryDirectory() as scratch:
        google, emojibase = folders or [fetch(name, Path(scratch)) for name in (GOOGLE, EMOJIBASE)]
        data = build(google, emojibase)
    with atomic_file(PACK) as path:
        path.write_bytes(data)
    print(f"{PACK}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
