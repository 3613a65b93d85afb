"""Where networks run: the device that a word asks for, found on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from align._advice import Advised

if TYPE_CHECKING:
    import torch


def find_device(device: str | torch.device) -> torch.device:
    """The device that ``device`` asks for.

    Args:
        device: ``"auto"`` for CUDA if there is a GPU, else MPS, else the CPU; or ``"cpu"``,
            ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a ``torch.device`` of these.

    Raises:
        ValueError: This machine, or this build of torch, has no such device. Nothing falls back
            to the CPU: an hour of encoding would become a day without a word.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seen = ["cpu", *(f"cuda:{at}" for at in range(gpus))]
    if torch.backends.mps.is_available():
        seen.append("mps")
    if device == "auto":
        return torch.device("cuda" if gpus else seen[-1])
    # Without a number it is the current GPU; CPU and MPS have one device each, number 0.
    unnumbered = {"cuda"} if gpus else set()
    if str(device) not in unnumbered.union(seen, ("cpu:0", *(["mps:0"] if "mps" in seen else []))):
        raise ValueError(
            Advised(
                "this machine must have the device that is asked for; "
                f"got device={str(device)!r}; torch sees: {', '.join(seen)}.",
                python="Use device='auto' or one of those, or install a build of torch that sees "
                "it.",
                command="Use --device auto or one of those, or install a build of torch that sees "
                "it.",
            )
        )
    return torch.device(device)
