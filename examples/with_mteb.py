"""An adapter and its encoders in MTEB, on a small task of captions and pictures.

pip install 'isthmus[mteb]'
python examples/with_mteb.py
"""

from __future__ import annotations

from typing import Any

import mteb
from datasets import Dataset
from flags import PICTURES, TEXTS, fitted
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

import align
from align.integrations.mteb import AlignEncoder

ADAPTER, CAPTIONS, DRAWN = fitted()


class Flags(AbsTaskRetrieval):
    """Captions ask for the picture that they describe."""

    metadata = TaskMetadata(
        name="Flags",
        description="Captions of drawn flags, none of which the adapter was fitted on.",
        reference=None,
        dataset={"path": "drawn", "revision": "1"},
        type="Any2AnyRetrieval",
        category="t2i",
        modalities=["text", "image"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Put the flags into the form that MTEB reads."""
        ids = [f"picture {row}" for row in range(len(DRAWN))]
        split = RetrievalSplitData(
            queries=Dataset.from_dict({"id": CAPTIONS, "text": CAPTIONS}),
            corpus=Dataset.from_dict({"id": ids, "image": DRAWN}),
            relevant_docs={text: {own: 1} for text, own in zip(CAPTIONS, ids, strict=True)},
            top_ranked=None,
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def main() -> None:
    """Run the task."""
    embedder = align.Embedder(ADAPTER, source=TEXTS, target=PICTURES)
    model = AlignEncoder(embedder, name="isthmus/flags")
    results = mteb.evaluate(model, Flags(), cache=None, co2_tracker=False, show_progress_bar=False)
    [scores] = results.task_results[0].scores["test"]
    for name in ("ndcg_at_10", "recall_at_1", "recall_at_5"):
        print(f"{name:12} {scores[name]:.3f}")


if __name__ == "__main__":
    main()
