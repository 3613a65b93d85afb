"""Frozen encoders of text and of source code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from align._device import find_device
from align._display.panel import render
from align.data.multi_vector import MultiVector
from align.encoders.batches import checked_items, run_batches
from align.encoders.naming import name_of
from align.encoders.panels import network_line, network_panel
from align.encoders.pretrained.folder import present, resolve_folder
from align.encoders.pretrained.network import (
    Dtype,
    TextPooling,
    check_options,
    inner_layers,
    load_config,
    load_network,
    load_pipeline,
    load_tokenizer,
    most_tokens,
    pick_layer,
    pool_text,
)
from align.encoders.pretrained.recipe import TEXT_FILES, Recipe, read_recipe
from align.encoders.pretrained.weights import files_digests, fingerprint
from align.encoders.pretrained.words import words_of


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """One vector, or one per token, for each text, from a frozen network.

    Reads transformers folders, sentence-transformers folders, and the text tower of CLIP and
    SigLIP folders. Nothing is loaded before the first ``encode``; ``fingerprint`` only reads
    files. A text gets the same vector whatever batch it is in, up to rounding.

    With ``pooling=None`` the vectors are the model's own: those of ``SentenceTransformer.encode``
    for a sentence-transformers folder, with its ``Normalize`` and its default prompt;
    ``get_text_features`` for CLIP and SigLIP; the mean of the token states for any other folder.
    A plain Transformer, Pooling, Normalize folder is run by transformers alone, which loads faster;
    one with further modules is run by sentence-transformers. A ``pooling`` that is given pools
    the token states and does nothing else, ``Normalize`` included.

    Attributes:
        model: Local folder, id on the Hugging Face hub, or ``"minilm"``, all-MiniLM-L6-v2 from
            the packages of ``isthmus[encoders]``; a folder of that name is ``"./minilm"``.
        pooling: ``"mean"`` of all tokens, ``"cls"`` for the first, ``"last"`` for the last token,
            ``"max"`` over tokens or ``"gem"``, the generalised mean of power 3, by dimension;
            special tokens counted; or ``None``, above.
        prompt: Put before each text; ``None`` is the folder's own default, mostly empty.
        max_length: Tokens kept per text, special tokens counted; ``None`` is the model's own.
        layer: Which token states: -1 the last ones, after the final norm; else an index into the
            ``hidden_states`` of transformers, where 0 are the embeddings.
        device: Where the network runs: ``"auto"`` is CUDA if there is a GPU, else MPS, else the
            CPU; or ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. Vectors come on the CPU in any
            case, and agree between devices up to rounding.
        dtype: Of the forward pass. Vectors come as float32 in any case.
        batch_size: Texts per forward pass.
        revision: Branch, tag or commit of a hub id.

    Raises:
        FileNotFoundError: ``model`` is neither a folder nor a hub id within reach.
        ValueError: An option is out of range; this machine has no such device; the folder has no
            safetensors; or it wants to run code of its own.

    Examples:
        >>> import align
        >>> encoder = align.TextEncoder("minilm")  # a packaged model, a folder or a hub id
        >>> tuple(encoder.encode(["a red dog", "a blue bird"]).shape)
        (2, 384)
    """

    modality: ClassVar[str] = "text"

    model: str | Path
    _: KW_ONLY
    pooling: TextPooling | None = None
    prompt: str | None = None
    max_length: int | None = None
    layer: int = -1
    device: str | torch.device = "auto"
    dtype: Dtype = "float32"
    batch_size: int = 32
    revision: str | None = None

    def __post_init__(self) -> None:
        check_options(dtype=self.dtype, batch_size=self.batch_size)
        _ = self._recipe, self._device  # what is wrong shows here, not at the first encode

    def __repr__(self) -> str:
        return network_line(self)

    def _repr_html_(self) -> str:
        return render(network_panel(self))

    @cached_property
    def _device(self) -> torch.device:
        return find_device(self.device)

    @cached_property
    def _folder(self) -> Path:
        return resolve_folder(self.model, self.revision, TEXT_FILES)

    @cached_property
    def _recipe(self) -> Recipe:
        return read_recipe(
            self._folder,
            pooling=self.pooling,
            layer=self.layer,
            prompt=self.prompt,
            max_length=self.max_length,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights, the tokenizer and every option but ``device`` and batching."""
        recipe = asdict(self._recipe)
        del recipe["transformer"]  # where the files are does not matter, and they are hashed
        files = files_digests(self._folder, present(self._folder, TEXT_FILES))
        parts = {"files": files, "recipe": recipe, "layer": self.layer, "dtype": self.dtype}
        return fingerprint(self.modality, self._recipe.architecture, self._recipe.pooling, parts)

    @property
    def spec(self) -> str | None:
        """How to build this encoder again, for ``load_encoder``; ``None`` if no line can say it."""
        return name_of(self)

    @cached_property
    def dim(self) -> int:
        """Width of the vectors of ``encode``."""
        if self._recipe.pipeline:
            return int(self._pipeline.get_embedding_dimension())
        if self._recipe.pooling == "own":
            dual = self._config
            is_clip = dual.model_type == "clip"
            return int(dual.projection_dim if is_clip else dual.text_config.projection_size)
        return self.token_dim

    @cached_property
    def token_dim(self) -> int:
        """Width of the token states of ``encode_tokens``."""
        return int(self._text_config.hidden_size)

    def encode(self, items: Sequence[str], *, progress: bool | None = None) -> Tensor:
        """The vector of each text, ``(n, dim)`` float32 on the CPU.

        Args:
            items: ``n`` texts, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is no string.
            ValueError: There are no items, or a text has no tokens.
        """
        return torch.stack(self._run(items, self._vectors, progress=progress))

    def encode_tokens(self, items: Sequence[str], *, progress: bool | None = None) -> MultiVector:
        """The token states of each text, float32 on the CPU, without padding.

        Special tokens and the prompt stay: pooling reads them too. States come from ``layer``
        and are not normalized.

        Args:
            items: ``n`` texts, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is no string.
            ValueError: There are no items, or a text has no tokens.
        """
        return MultiVector.pack(self._run(items, self._tokens, progress=progress))

    def words(self, item: str) -> tuple[str, ...]:
        """The word of each token of ``encode_tokens([item])``, to show what a token stands for.

        ``""`` for special tokens, and ``"##"`` where the word of the token before goes on.
        """
        return words_of(self._tokenizer, item, prompt=self._recipe.prompt, limit=self._limit)

    def variants(self) -> tuple[Self, ...]:
        """This encoder first, then others of the same network: further layers and poolings.

        Up to seven layers, evenly apart, each through the mean, the maximum, the generalised mean,
        and the first token, or the last where the tokenizer has no ``[CLS]``. An encoder that was
        given a pooling or a layer is the only one.
        """
        if self.pooling is not None or self.layer != -1:
            return (self,)
        token: TextPooling = "last" if self._tokenizer.cls_token is None else "cls"
        over_all: tuple[TextPooling, ...] = ("mean", "max", "gem")
        made = [self]
        for layer in (-1, *reversed(inner_layers(int(self._text_config.num_hidden_layers)))):
            # At layer 0 a token has not seen its text.
            poolings = (token, *over_all) if layer != 0 else over_all
            given = (pooling for pooling in poolings if (layer, pooling) != (-1, self._pooling))
            made += [replace(self, layer=layer, pooling=pooling) for pooling in given]
        return tuple(made)

    def encode_variants(
        self, items: Sequence[str], variants: Sequence[Self], *, progress: bool | None = None
    ) -> list[Tensor]:
        """What each of some ``variants()`` gives of ``items``, by one pass through the network.

        Args:
            items: ``n`` texts, at least one.
            variants: Encoders that ``variants`` gave.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is no string.
            ValueError: There are no items, or a text has no tokens.
        """

        def forward(texts: list[str], rows: list[int]) -> Tensor:
            inputs, mask = self._inputs(texts, rows)
            output = self._tower(**inputs, output_hidden_states=True)
            return torch.cat(
                [
                    self._vectors(texts, rows)
                    if each._pooling == "own"
                    else each._pooled(pick_layer(output, each.layer).float(), mask)
                    for each in variants
                ],
                dim=1,
            )

        together = torch.stack(self._run(items, forward, progress=progress))
        return list(torch.split(together, [each.dim for each in variants], dim=1))

    def _run(self, items: Sequence[str], forward: Any, *, progress: bool | None) -> list[Tensor]:
        return run_batches(
            checked_items(items, (str,), "a string"),
            forward,
            batch_size=self.batch_size,
            length=len,
            progress=progress,
            label=self.modality,
        )

    @property
    def _pooling(self) -> str:
        return self._recipe.pooling

    @cached_property
    def _config(self) -> Any:
        return load_config(self._recipe.transformer)

    @cached_property
    def _text_config(self) -> Any:
        return self._config.get_text_config()

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._recipe.transformer)

    @cached_property
    def _network(self) -> Any:
        return load_network(self._recipe.transformer, dtype=self.dtype, device=self._device)

    @cached_property
    def _tower(self) -> Any:
        """The part of the network that turns tokens into states."""
        if self._config.is_encoder_decoder:
            return self._network.get_encoder()
        return getattr(self._network, "text_model", self._network)

    @cached_property
    def _pipeline(self) -> Any:
        pipeline = load_pipeline(self._folder, dtype=self.dtype, device=self._device)
        positions = most_tokens(pipeline[0].auto_model, self._text_config)
        limit = self._limit_of(positions, self._tokenizer.model_max_length)
        if limit is not None:
            pipeline.max_seq_length = limit
        return pipeline

    @cached_property
    def _limit(self) -> int | None:
        """Most tokens per text; ``None`` where neither the folder nor the network has a limit."""
        positions = most_tokens(self._tower, self._text_config)
        return self._limit_of(positions, self._tokenizer.model_max_length)

    def _limit_of(self, positions: int | None, tokenizer_limit: int) -> int | None:
        if self.max_length is not None:
            if positions is not None and self.max_length > positions:
                raise ValueError(
                    f"max_length must lie in [1, {positions}], the positions of this network; "
                    f"got {self.max_length}. Lower it, or leave it out."
                )
            return self.max_length
        folder_limit = self._recipe.max_length
        limit = tokenizer_limit if folder_limit is None else folder_limit
        limit = min(limit, positions or 10**9)
        return limit if limit < 10**9 else None

    def _inputs(self, texts: list[str], rows: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        """What the tower takes, and where tokens are real, ``(n, t)`` bool."""
        # SigLIP was trained on texts padded to full length, padding attended to.
        fixed = self._recipe.model_type.startswith("siglip")
        batch = self._tokenizer(
            [self._recipe.prompt + text for text in texts],
            padding="max_length" if fixed else True,
            padding_side="right",  # positions then start at 0 in every network
            truncation=self._limit is not None,
            max_length=self._limit,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        mask = batch["attention_mask"].bool()
        if not mask.any(1).all():
            empty = int((~mask.any(1)).nonzero()[0])
            raise ValueError(
                f"every text needs at least one token; item {rows[empty]}, {texts[empty]!r}, has "
                "none. Drop it, and its id."
            )
        if fixed:
            del batch["attention_mask"]
        return dict(batch), mask

    def _states(self, texts: list[str], rows: list[int]) -> tuple[Tensor, Tensor]:
        """Token states ``(n, t, d)`` float32, and where they are real, ``(n, t)`` bool."""
        inputs, mask = self._inputs(texts, rows)
        output = self._tower(**inputs, output_hidden_states=self.layer != -1)
        return pick_layer(output, self.layer).float(), mask

    def _vectors(self, texts: list[str], rows: list[int]) -> Tensor:
        recipe = self._recipe
        if recipe.pipeline:
            vectors = self._pipeline.encode(
                texts,
                prompt=recipe.prompt,
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        elif recipe.pooling == "own":
            inputs, _ = self._inputs(texts, rows)
            features = self._network.get_text_features(**inputs)
            vectors = getattr(features, "pooler_output", features)
        else:
            return self._pooled(*self._states(texts, rows))
        return self._finished(vectors)

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        return self._finished(pool_text(states, mask, self._pooling))

    def _finished(self, vectors: Tensor) -> Tensor:
        vectors = vectors.float().cpu()
        return torch.nn.functional.normalize(vectors) if self._recipe.normalize else vectors

    def _tokens(self, texts: list[str], rows: list[int]) -> Iterator[Tensor]:
        states, mask = self._states(texts, rows)
        return (state[real].cpu() for state, real in zip(states, mask, strict=True))


class CodeEncoder(TextEncoder):
    """A ``TextEncoder`` whose items are pieces of source code, each a string.

    Examples:
        >>> import align
        >>> encoder = align.CodeEncoder("minilm")  # a packaged model, a folder or a hub id
        >>> tuple(encoder.encode(["def add(a, b): return a + b"]).shape)
        (1, 384)
    """

    modality: ClassVar[str] = "code"
