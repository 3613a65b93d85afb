"""Vectors as columns of a Hugging Face data set, and an adapter fitted on them.

pip install 'isthmus[datasets]'
python examples/with_datasets.py
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
from flags import PICTURES, TEXTS, draw_flags

import align
from align.adapters.closed_form.rcca import rcca
from align.integrations.datasets import to_paired, with_vectors


def main() -> None:
    captions, pictures = draw_flags()
    flags = datasets.Dataset.from_dict(
        {"caption": captions, "flag": pictures},
        features=datasets.Features({"caption": datasets.Value("string"), "flag": datasets.Image()}),
    )
    print("columns:", flags.features)

    # Encoded batch by batch; the cache of `datasets` knows the result by the encoder.
    flags = with_vectors(flags, "caption", TEXTS, into="caption_vector")
    flags = with_vectors(flags, "flag", PICTURES, into="flag_vector")
    pairs = to_paired(flags, source="caption_vector", target="flag_vector")

    train, test = pairs.split(test=0.2)
    adapter = rcca(train.source, train.target)
    found = align.evaluate(test, adapter)
    print(f"recall at 1 on {len(test)} new flags: {found.mean['recall_at_1'].value:.2f}")


if __name__ == "__main__":
    main()
