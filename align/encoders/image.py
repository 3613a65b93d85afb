"""Frozen encoders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align._checks import check_one_of
from align._device import find_device
from align._display.panel import render
from align.data.multi_vector import MultiVector
from align.data.pictures import check_size, opened, upright_rgb
from align.encoders.batches import checked_items, run_batches
from align.encoders.naming import name_of
from align.encoders.panels import network_line, network_panel
from align.encoders.pretrained.folder import architecture, present, read_config, resolve_folder
from align.encoders.pretrained.network import (
    Dtype,
    check_options,
    inner_layers,
    load_config,
    load_image_processor,
    load_network,
    pick_layer,
    pool,
)
from align.encoders.pretrained.weights import files_digests, fingerprint

ImageItem = str | Path | Image.Image | np.ndarray[Any, Any]
ImagePooling = Literal["cls", "mean", "cls+mean", "max", "gem"]

IMAGE_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")


class _Family(NamedTuple):
    """What a kind of network offers: a CLS token, a pooled output of its own, a feature map."""

    has_cls: bool
    has_own: bool
    is_map: bool = False


_FAMILIES = {
    "vit": _Family(has_cls=True, has_own=False),
    "dinov2": _Family(has_cls=True, has_own=False),
    "dinov2_with_registers": _Family(has_cls=True, has_own=False),
    "dinov3_vit": _Family(has_cls=True, has_own=False),
    "clip": _Family(has_cls=True, has_own=True),
    "clip_vision_model": _Family(has_cls=True, has_own=True),
    "siglip": _Family(has_cls=False, has_own=True),
    "siglip_vision_model": _Family(has_cls=False, has_own=True),
    "convnext": _Family(has_cls=False, has_own=True, is_map=True),
    "convnextv2": _Family(has_cls=False, has_own=True, is_map=True),
    "resnet": _Family(has_cls=False, has_own=True, is_map=True),
}


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """One vector, or one per patch, for each image, from a frozen network.

    Knows ViT, DINOv2 and DINOv3, CLIP and SigLIP (the dual model or its vision tower), ConvNeXt
    and ResNet. Nothing is loaded before the first ``encode``; ``fingerprint`` only reads files.

    Items are paths, Pillow images, or ``(h, w, 3)`` uint8 RGB arrays. Pictures are turned upright
    by their EXIF tag and laid over white where they are transparent; then the folder's own
    preprocessing follows, done by Pillow.

    With ``pooling=None`` the vectors are the model's own: ``get_image_features`` for a dual CLIP
    or SigLIP model; the pooled output of a CLIP or SigLIP vision tower, ConvNeXt or ResNet; the
    CLS state for ViT and DINO. At an inner ``layer`` nothing is the model's own, so it is the
    CLS state where there is one and the mean of the patches elsewhere.

    Attributes:
        model: Local folder, or id on the Hugging Face hub.
        pooling: ``"cls"``; ``"mean"`` of the patches, without CLS and registers; ``"cls+mean"``,
            both end to end, twice as wide; ``"max"`` over patches or ``"gem"``, their generalised
            mean of power 3, by dimension; or ``None``, above.
        layer: Which states: -1 the last ones, after the final norm; else an index into the
            ``hidden_states`` of transformers, where 0 are the embeddings.
        device: Where the network runs: ``"auto"`` is CUDA if there is a GPU, else MPS, else the
            CPU; or ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. Vectors come on the CPU in any
            case, and agree between devices up to rounding.
        dtype: Of the forward pass. Vectors come as float32 in any case.
        batch_size: Images per forward pass.
        revision: Branch, tag or commit of a hub id.

    Raises:
        FileNotFoundError: ``model`` is neither a folder nor a hub id within reach.
        ValueError: An option is out of range; this machine has no such device; the network is of
            an unknown kind or lacks a CLS token that ``pooling`` needs; the folder has no
            safetensors or wants to run code.

    Examples:
        >>> import align
        >>> import PIL.Image
        >>> from transformers import ViTConfig, ViTModel
        >>> from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
        >>> small = ViTConfig(hidden_size=48, num_hidden_layers=1, image_size=32, patch_size=8)
        >>> ViTModel(small).save_pretrained("vit")
        >>> files = ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained("vit")
        >>> encoder = align.ImageEncoder("vit")  # a folder or a hub id, as facebook/dinov2-small
        >>> tuple(encoder.encode([PIL.Image.new("RGB", (64, 64), "red")]).shape)
        (1, 48)
    """

    modality: ClassVar[str] = "image"

    model: str | Path
    _: KW_ONLY
    pooling: ImagePooling | None = None
    layer: int = -1
    device: str | torch.device = "auto"
    dtype: Dtype = "float32"
    batch_size: int = 32
    revision: str | None = None

    def __post_init__(self) -> None:
        check_options(dtype=self.dtype, batch_size=self.batch_size)
        _ = self._device  # what is wrong shows here, not at the first encode
        advice = "None is the model's own: leave pooling out if in doubt."
        check_one_of("pooling", self.pooling, (*get_args(ImagePooling), None), advice)
        kind = self._json["model_type"]
        if kind not in _FAMILIES:
            raise ValueError(
                f"model_type must be one of {sorted(_FAMILIES)}; got {kind!r}. "
                "Where another network keeps its CLS token is not known here: load it yourself "
                "and wrap it in CallableEncoder."
            )
        if self.pooling in ("cls", "cls+mean") and not self._family.has_cls:
            raise ValueError(
                f"pooling {self.pooling!r} needs a CLS token; {kind!r} networks have none. "
                'Use "mean", or leave pooling out.'
            )

    def __repr__(self) -> str:
        return network_line(self)

    def _repr_html_(self) -> str:
        return render(network_panel(self))

    @cached_property
    def _device(self) -> torch.device:
        return find_device(self.device)

    @cached_property
    def _folder(self) -> Path:
        return resolve_folder(self.model, self.revision, IMAGE_FILES)

    @cached_property
    def _json(self) -> dict[str, Any]:
        return read_config(self._folder)

    @property
    def _family(self) -> _Family:
        return _FAMILIES[self._json["model_type"]]

    @property
    def _pooling(self) -> str:
        if self.pooling is not None:
            return self.pooling
        if self._family.has_own and self.layer == -1:
            return "own"
        return "cls" if self._family.has_cls else "mean"

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights, the preprocessing, pooling, layer and dtype."""
        files = files_digests(self._folder, present(self._folder, IMAGE_FILES))
        parts = {"files": files, "layer": self.layer, "dtype": self.dtype}
        return fingerprint(self.modality, architecture(self._json), self._pooling, parts)

    @property
    def spec(self) -> str | None:
        """How to build this encoder again, for ``load_encoder``; ``None`` if no line can say it."""
        return name_of(self)

    @cached_property
    def dim(self) -> int:
        """Width of the vectors of ``encode``."""
        if self._pooling == "own" and self._config.model_type == "clip":
            return int(self._config.projection_dim)
        return self.token_dim * (2 if self._pooling == "cls+mean" else 1)

    @cached_property
    def token_dim(self) -> int:
        """Width of the patch states of ``encode_tokens``."""
        if not self._family.is_map:
            return int(self._vision_config.hidden_size)
        stages = self._config.hidden_sizes
        first = getattr(self._config, "embedding_size", stages[0])
        return int(stages[-1] if self.layer == -1 else [first, *stages][self.layer])

    def encode(self, items: Sequence[ImageItem], *, progress: bool | None = None) -> Tensor:
        """The vector of each image, ``(n, dim)`` float32 on the CPU.

        Args:
            items: ``n`` images, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is of none of the kinds above.
            ValueError: There are no items, or one cannot be read.
        """
        return torch.stack(self._run(items, self._vectors, progress=progress))

    def encode_tokens(
        self, items: Sequence[ImageItem], *, progress: bool | None = None
    ) -> MultiVector:
        """The patch states of each image, float32 on the CPU, row by row from the top left.

        CLS and register tokens are left out. A feature map ``(d, h, w)`` gives ``h * w`` states.

        Args:
            items: ``n`` images, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is of none of the kinds above.
            ValueError: There are no items, or one cannot be read.
        """
        return MultiVector.pack(self._run(items, self._patches, progress=progress))

    def seen(self, item: ImageItem) -> Image.Image:
        """What the network sees of a picture, resized and cropped: the patches cover it."""
        pixels = self._pixels([item], [0])[0].float().cpu()
        low, high = pixels.aminmax()  # colours are shifted and scaled; the places are what counts
        scaled = (pixels - low) / (high - low).clamp_min(1e-6) * 255
        return Image.fromarray(scaled.permute(1, 2, 0).byte().numpy())

    def variants(self) -> tuple[Self, ...]:
        """This encoder first, then others of the same network: further layers and poolings.

        Up to seven layers, evenly apart, each through the CLS state, where there is one, and the
        mean, the maximum and the generalised mean of the patches. An encoder that was given a
        pooling or a layer is the only one.
        """
        if self.pooling is not None or self.layer != -1:
            return (self,)
        config = self._vision_config
        depth = len(config.hidden_sizes) if self._family.is_map else int(config.num_hidden_layers)
        over_all: tuple[ImagePooling, ...] = ("mean", "max", "gem")
        made = [self]
        for layer in (-1, *reversed(inner_layers(depth))):
            # At layer 0 the CLS token has not seen the picture.
            has_cls = self._family.has_cls and layer != 0
            poolings: tuple[ImagePooling, ...] = ("cls", *over_all) if has_cls else over_all
            given = (pooling for pooling in poolings if (layer, pooling) != (-1, self._pooling))
            made += [replace(self, layer=layer, pooling=pooling) for pooling in given]
        return tuple(made)

    def encode_variants(
        self, items: Sequence[ImageItem], variants: Sequence[Self], *, progress: bool | None = None
    ) -> list[Tensor]:
        """What each of some ``variants()`` gives of ``items``, by one pass through the network.

        Args:
            items: ``n`` images, at least one.
            variants: Encoders that ``variants`` gave.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is of none of the kinds of ``encode``.
            ValueError: There are no items, or one cannot be read.
        """

        def forward(images: list[ImageItem], rows: list[int]) -> Tensor:
            pixels = self._pixels(images, rows)
            output = self._tower(pixel_values=pixels, output_hidden_states=True)
            return torch.cat(
                [
                    self._own(pixels)
                    if each._pooling == "own"
                    else each._pooled(*self._split(pick_layer(output, each.layer)))
                    for each in variants
                ],
                dim=1,
            )

        together = torch.stack(self._run(items, forward, progress=progress))
        return list(torch.split(together, [each.dim for each in variants], dim=1))

    def _run(
        self, items: Sequence[ImageItem], forward: Any, *, progress: bool | None
    ) -> list[Tensor]:
        kinds = (str, Path, Image.Image, np.ndarray)
        return run_batches(
            checked_items(items, kinds, "a path, a Pillow image or a uint8 array"),
            forward,
            batch_size=self.batch_size,
            progress=progress,
            label=self.modality,
        )

    @cached_property
    def _config(self) -> Any:
        return load_config(self._folder)

    @cached_property
    def _vision_config(self) -> Any:
        return getattr(self._config, "vision_config", self._config)

    @cached_property
    def _processor(self) -> Any:
        return load_image_processor(self._folder)

    @cached_property
    def _network(self) -> Any:
        return load_network(self._folder, dtype=self.dtype, device=self._device)

    @property
    def _tower(self) -> Any:
        """The part of the network that turns pixels into states."""
        return getattr(self._network, "vision_model", self._network)

    def _pixels(self, items: list[ImageItem], rows: list[int]) -> Tensor:
        # One at a time: the whole pictures of a batch need not be held together.
        made = [
            self._processor(images=[open_rgb(item, row)], return_tensors="pt")["pixel_values"]
            for item, row in zip(items, rows, strict=True)
        ]
        return torch.cat(made).to(self._device, self._network.dtype)

    def _states(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What stands before the patches, ``(n, p, d)``, and the patches, ``(n, t, d)``."""
        output = self._tower(pixel_values=pixels, output_hidden_states=self.layer != -1)
        return self._split(pick_layer(output, self.layer))

    def _split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        states = states.float()
        if self._family.is_map:
            states = states.flatten(2).transpose(1, 2)
        registers = getattr(self._vision_config, "num_register_tokens", 0)
        before = 1 + registers if self._family.has_cls else 0
        return states[:, :before], states[:, before:]

    def _own(self, pixels: Tensor) -> Tensor:
        dual = hasattr(self._config, "vision_config")
        give = self._network.get_image_features if dual else self._network
        output = give(pixel_values=pixels)
        # ResNet keeps the two sides of its map, both 1.
        own: Tensor = getattr(output, "pooler_output", output)
        return own.flatten(1).float().cpu()

    def _vectors(self, items: list[ImageItem], rows: list[int]) -> Tensor:
        pixels = self._pixels(items, rows)
        if self._pooling == "own":
            return self._own(pixels)
        return self._pooled(*self._states(pixels))

    def _pooled(self, before: Tensor, patches: Tensor) -> Tensor:
        every = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        parts = [
            before[:, 0] if name == "cls" else pool(patches, every, name)
            for name in self._pooling.split("+")
        ]
        return torch.cat(parts, dim=1).cpu()

    def _patches(self, items: list[ImageItem], rows: list[int]) -> Tensor:
        return self._states(self._pixels(items, rows))[1].cpu()


def open_rgb(item: ImageItem, position: int) -> Image.Image:
    """The picture as upright RGB, laid over white where it is transparent.

    Of an animation, the first frame. ``position`` in the caller's list names the item in errors.

    Raises:
        ValueError: The item cannot be read as a picture of 8 bits per channel, or is larger or
            longer than ``align.data.pictures`` allows.
    """
    if isinstance(item, str | Path):
        name = f"item {position}, {str(item)!r},"
        with opened(item, name) as image:
            return upright_rgb(image, name)
    name = f"item {position}"
    if isinstance(item, np.ndarray):
        if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8 or item.size == 0:
            raise ValueError(
                "an image array must be uint8 of shape (h, w, 3), RGB; "
                f"{name} has shape {item.shape} and dtype {item.dtype}. "
                "Convert it, or pass a path or a Pillow image."
            )
        made = Image.fromarray(item)
        check_size(made, name)
        return made
    check_size(item, name)
    try:
        item.load()
    except Exception as error:  # a file that Pillow has opened and not yet read
        raise ValueError(
            f"a picture must be a readable image; {name} gave {type(error).__name__}: {error}. "
            "Check where it comes from, or drop the item and its id."
        ) from error
    return upright_rgb(item, name)
