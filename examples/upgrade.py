"""A new encoder asks the index that an old one filled: nothing is encoded anew but queries.

python examples/upgrade.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from flags import PICTURES, draw_flags
from PIL import Image

import align


def look_closely(images: list[Image.Image]) -> torch.Tensor:
    """Square roots of colours on a 10 x 10 grid; ``(n, 300)``."""
    small = [list(image.convert("RGB").resize((10, 10)).tobytes()) for image in images]
    return (torch.tensor(small) / 255).sqrt() + 0.1


OLD = PICTURES
NEW = align.CallableEncoder(look_closely, name="toy pixels 2", dim=300, modality="image")


def main() -> None:
    """Learn the way from new to old on 300 pictures, and ask with those it has not seen."""
    _, pictures = draw_flags()
    held = torch.nn.functional.normalize(OLD.encode(pictures), dim=1).numpy()

    def search(vectors: np.ndarray[Any, Any], k: int) -> tuple[Any, Any]:
        """The running retriever: cosine over the vectors of the old encoder."""
        scores = vectors @ held.T
        rows = np.argsort(-scores, axis=1)[:, :k]
        return rows, np.take_along_axis(scores, rows, axis=1)

    sample, unseen = pictures[:300], pictures[300:]
    found = align.upgrade(NEW.encode(sample), OLD.encode(sample))
    print(found.adapter.card.verdict)
    kept = found.kept_at_10
    print(
        f"expected to keep {kept.value:.2f} of the ten nearest, {kept.low:.2f} to {kept.high:.2f}"
    )

    # Refused if these were not the vectors of the old encoder.
    stored = sample[:20], held[:20]
    retriever = align.wrap(search, found.adapter, NEW, stored=stored, stored_encoder=OLD)
    now = [{hit.id for hit in hits} for hits in retriever.search(unseen, k=10)]
    before = search(held[300:], 10)[0].tolist()
    share = np.mean([len(ids & set(rows)) / 10 for ids, rows in zip(now, before, strict=True)])
    print(f"of the ten nearest of {len(unseen)} new pictures, {share:.2f} are found again")


if __name__ == "__main__":
    main()
