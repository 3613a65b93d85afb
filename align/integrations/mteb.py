"""MTEB: an adapter with its encoders as a model that the benchmark can run."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from align._checks import check_side
from align.data.sides import Side
from align.integrations.extras import extra
from align.retrieval.embedder import Embedder

with extra("mteb"):
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType
    from torch.utils.data import DataLoader

_FIELDS = {"text": "text", "code": "text", "image": "image"}
"""The field of an MTEB batch that holds the items of a modality."""


class AlignEncoder(AbsEncoder):
    """Both sides of an adapter as one MTEB model that scores by inner product.

    Texts go through the side of texts or code, and images through that of images. Where both sides
    are of text, queries are sources and documents are targets.

    In retrieval from one side to the other, bitext mining included, vectors are those of
    ``Embedder.queries`` and ``Embedder.gallery``, correction included. Everywhere else, as in
    similarity, classification and zero-shot tasks, and in retrieval within one side, they are the
    plain vectors of the shared space, for which the inner product is the cosine. Prompts of a task
    are not used, and encoders keep their own batch sizes.

    MTEB does not name the columns of a bitext: the column of the queries comes first, except in
    tasks that hold a subset as a dictionary, such as the first BUCC, which may be refused.
    ``CachedEmbeddingWrapper`` gives both columns of a bitext from one cache: do without it there.

    Attributes:
        embedder: The adapter with its encoders.
        mteb_model_meta: Under what MTEB files results: the name, and a revision that changes with
            the adapter and its encoders.
    """

    def __init__(
        self, embedder: Embedder[Tensor], *, name: str, languages: Mapping[str, Side] | None = None
    ) -> None:
        """Make a model of an adapter.

        Args:
            embedder: The adapter with its encoders, of text, code or images.
            name: Of the form ``"organisation/model"``.
            languages: The side of each language, such as ``{"eng": "source", "fra": "target"}``;
                only for bitext tasks that pair each language with every other, and where both
                sides are of text.

        Raises:
            ValueError: ``name`` is of another form, or an encoder is of another modality.
        """
        if name.count("/") != 1 or not all(name.split("/")):
            raise ValueError(
                f'name must be of the form "organisation/model"; got {name!r}. '
                "MTEB keeps results in a folder of that name."
            )
        self.embedder = embedder
        encoders = {side: embedder.encoder(side) for side in ("source", "target")}
        unknown = {encoder.modality for encoder in encoders.values()} - set(_FIELDS)
        if unknown:
            raise ValueError(
                f"encoders for MTEB must be of {sorted(_FIELDS)}; got {sorted(unknown)}. "
                "Evaluate items of several modalities with align.evaluate."
            )
        self._fields = {side: _FIELDS[encoder.modality] for side, encoder in encoders.items()}
        modalities = sorted(set(self._fields.values()))
        digest = embedder.digest()
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": name,
                "revision": digest[:16],
                "embed_dim": embedder.adapter.dim,
                "framework": ["PyTorch"],
                "similarity_fn_name": ScoringFunction.DOT_PRODUCT,
                "use_instructions": False,
                "modalities": modalities,
                # Results and cached vectors lie in folders of this name.
                "experiment_kwargs": {"adapter": digest[:16]},
            }
        )
        self._bitext = _Bitext(languages)

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Vectors of all items of the batches, in order, float32.

        Arguments are those of MTEB; of ``kwargs`` only ``show_progress_bar`` is used.

        Raises:
            ValueError: Items have both text and image, or no side of the adapter takes them.
        """
        items: list[Any] = []
        field = ""
        for batch in inputs:
            field = _field(batch)
            items += batch[field]
        progress = bool(kwargs.get("show_progress_bar", False))
        if task_metadata.type == "BitextMining" and field == "text" and self._one_field():
            side, key = self._bitext.column(task_metadata, hf_split, hf_subset)
            encode = self.embedder.queries if side == "source" else self.embedder.gallery
            vectors = encode(items, progress=progress)
            self._bitext.encoded(side, key, vectors)
            return vectors
        side = self._side(field, prompt_type)
        # Elsewhere items are compared with items of their kind.
        kinds = ("Retrieval", "Reranking", "QA", "DocumentUnderst")
        retrieves = any(word in task_metadata.type for word in kinds)
        across = self._one_field() or task_metadata.category in ("t2i", "i2t")
        if prompt_type is None or not across or not retrieves:
            raw = self.embedder.encode(items, side=side, progress=progress).vectors
            adapter = self.embedder.adapter
            return adapter.source(raw) if side == "source" else adapter.target(raw)
        if prompt_type == PromptType.query:
            return self.embedder.queries(items, side=side, progress=progress)
        return self.embedder.gallery(items, side=side, progress=progress)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Inner products of all with all, ``(n, m)``.

        Raises:
            ValueError: The queries of a bitext task are the column that it encoded second.
        """
        self._bitext.check(embeddings1, embeddings2)
        return super().similarity(embeddings1, embeddings2)  # type: ignore[no-any-return]

    def _one_field(self) -> bool:
        """Whether both sides are of text, or both of images."""
        return len(set(self._fields.values())) == 1

    def _side(self, field: str, prompt_type: PromptType | None) -> Side:
        """Which side takes a field; where both do, queries are sources."""
        takes: list[Side] = [side for side in ("source", "target") if self._fields[side] == field]
        if not takes:
            raise ValueError(
                f"items must be of {sorted(set(self._fields.values()))}, which the adapter maps; "
                f"this task has {field!r}. Choose a task of those."
            )
        return takes[-1] if prompt_type == PromptType.document else takes[0]


def _field(batch: Mapping[str, Sequence[Any]]) -> str:
    fields = [field for field in ("text", "image", "audio", "video") if field in batch]
    if len(fields) != 1:
        raise ValueError(
            "each item must be one text or one image; this task gives items with "
            f"{fields or sorted(batch)}. Choose a task whose items are of one modality."
        )
    return fields[0]


_Key = tuple[str, str, str]
"""Task, split and subset of a bitext."""


class _Bitext:
    """Which side a column of a bitext task is of."""

    def __init__(self, languages: Mapping[str, Side] | None) -> None:
        for side in (languages or {}).values():
            check_side(side)
        self.languages = dict(languages or {})
        self._waiting: _Key | None = None
        self._last: dict[Side, weakref.ref[Tensor]] = {}

    def column(self, task: TaskMetadata, split: str, subset: str) -> tuple[Side, _Key | None]:
        """The side of the column that is encoded next, and its key if only order tells it."""
        side, key = self._named(task, subset), (task.name, split, subset)
        second = self._waiting == key
        self._waiting = None
        return (side, None) if side is not None else ("target" if second else "source", key)

    def encoded(self, side: Side, key: _Key | None, vectors: Tensor) -> None:
        """Remember a column; one whose encoding fails does not come here and does not count."""
        if key is not None:
            self._last[side] = weakref.ref(vectors)
            self._waiting = key if side == "source" else None

    def check(self, queries: Any, gallery: Any) -> None:
        """Raise ``ValueError`` where the columns came in the other order."""
        if _same_storage(queries, self._last.get("target")) and _same_storage(
            gallery, self._last.get("source")
        ):
            raise ValueError(
                "the columns of a bitext must be encoded in the order in which they are compared, "
                "as nothing else distinguishes them; this task encoded the queries second. "
                "Run it anew with another model object, or choose a later version of the task."
            )

    def _named(self, task: TaskMetadata, subset: str) -> Side | None:
        """The side of a column that is named by its language, in tasks with many side by side."""
        pairs = [pair.split("-") for pair in task.hf_subsets if pair.count("-") == 1]
        places = {place for pair in pairs for place in (0, 1) if pair[place] == subset}
        if not places or subset in task.hf_subsets:
            return None
        for language, side in self.languages.items():
            if subset.startswith(language):
                return side
        if {*pairs[0]} == {language for pair in pairs for language in pair}:
            return "source" if subset == pairs[0][0] else "target"  # two languages, both ways
        if len(places) == 2:
            raise ValueError(
                "a language must be of one side of the adapter; this task has "
                f"{subset!r} on both. Pass AlignEncoder languages=, such as "
                f'{{"{subset}": "source", ...}}, or choose a task of one pair of languages.'
            )
        return "source" if places == {0} else "target"


def _same_storage(vectors: Any, other: weakref.ref[Tensor] | None) -> bool:
    whole = None if other is None else other()
    return (
        whole is not None
        and isinstance(vectors, Tensor)
        and vectors.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    )
