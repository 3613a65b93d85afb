"""MTEB: an adapter beside its encoders as a model that the benchmark can run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from align.adapters.adapter import Adapter, Side
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

_LETTERS = {"t": "text", "i": "image"}
"""Fields by the letters of a task's category, such as ``t2i``."""

_OTHERS = ("audio", "video")


class AlignEncoder(AbsEncoder):
    """Both sides of an adapter as one MTEB model; its similarity is the inner product.

    Texts go through the side of texts or code, and images through that of images. Where both sides
    are of text, queries are sources and documents are targets.

    In retrieval from one side to the other, vectors are those of ``Embedder.queries`` and
    ``Embedder.gallery``, correction included. Everywhere else, as in similarity, classification
    and zero-shot tasks, and in retrieval within one side, they are the plain vectors of the shared
    space, for which the inner product is the cosine. Prompts of a task are not used, and encoders
    keep their own batch sizes.

    Attributes:
        embedder: The adapter beside its encoders.
        mteb_model_meta: What MTEB files results under: the name, and a revision that changes with
            the adapter and its encoders.
    """

    def __init__(self, embedder: Embedder, *, name: str) -> None:
        """Make a model of an adapter.

        Args:
            embedder: The adapter and its encoders, of text, code or images.
            name: What to call it, ``"organisation/model"``.

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
        modalities: list[Any] = sorted(set(self._fields.values()))
        self.mteb_model_meta = ModelMeta(
            name=name,
            revision=_revision(
                embedder.adapter, [encoder.fingerprint for encoder in encoders.values()]
            ),
            loader=None,
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=None,
            embed_dim=embedder.adapter.dim,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name=ScoringFunction.DOT_PRODUCT,
            use_instructions=False,
            training_datasets=None,
            modalities=modalities,
        )

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

        Args:
            inputs: Batches as MTEB makes them: dictionaries with lists under ``text`` or
                ``image``.
            task_metadata: Says what a task matches with what, such as ``t2i``.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Whether the items ask or are searched, in retrieval.
            **kwargs: Only ``show_progress_bar`` is used.

        Raises:
            ValueError: Items have both text and image, or no side of the adapter takes them.
        """
        items: list[Any] = []
        field = ""
        for batch in inputs:
            field = _field(batch)
            items += batch[field]
        side = self._side(field, prompt_type)
        progress = bool(kwargs.get("show_progress_bar", False))
        if prompt_type is None or not self._crosses(task_metadata.category):
            vectors = self.embedder.encode(items, side=side, progress=progress)
            adapter = self.embedder.adapter
            return adapter.source(vectors) if side == "source" else adapter.target(vectors)
        if prompt_type == PromptType.query:
            return self.embedder.queries(items, side=side, progress=progress)
        return self.embedder.gallery(items, side=side, progress=progress)

    def _side(self, field: str, prompt_type: PromptType | None) -> Side:
        """Which side takes a field; where both do, queries are sources."""
        takes: list[Side] = [side for side in ("source", "target") if self._fields[side] == field]
        if not takes:
            raise ValueError(
                f"items must be of {sorted(set(self._fields.values()))}, which the adapter maps; "
                f"this task has {field!r}. Choose a task of those."
            )
        return takes[-1] if prompt_type == PromptType.document else takes[0]

    def _crosses(self, category: str | None) -> bool:
        """Whether queries and documents of a task are of different sides."""
        if len(set(self._fields.values())) == 1:
            return True
        asked, _, found = (category or "").partition("2")
        return asked in _LETTERS and found in _LETTERS and _LETTERS[asked] != _LETTERS[found]


def _field(batch: Mapping[str, Sequence[Any]]) -> str:
    held = [field for field in ("text", "image", *_OTHERS) if field in batch]
    if len(held) != 1:
        raise ValueError(
            "each item must be one text or one image; this task gives items with "
            f"{held or sorted(batch)}. Choose a task whose items are of one modality."
        )
    return held[0]


def _revision(adapter: Adapter, fingerprints: Sequence[str]) -> str:
    """A digest of weights, settings of the bank and encoders, so that no stale result is found."""
    digest = hashlib.sha256("\n".join(fingerprints).encode())
    bank = adapter.bank
    digest.update(repr(None if bank is None else (bank.expansion, bank.hubness)).encode())
    for name, tensor in sorted(adapter.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
