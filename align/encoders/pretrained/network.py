"""Loading of frozen networks; the only file that imports transformers or sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from align._checks import check_at_least, check_one_of
from align._display.progress import import_tqdm_auto

Dtype = Literal["float32", "float16", "bfloat16"]
TextPooling = Literal["mean", "cls", "last", "max", "gem"]
INNER = 6  # layers before the last that are offered, evenly apart: neighbours are alike
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def check_options(*, dtype: str, batch_size: int) -> None:
    """Raise ``ValueError`` unless both options lie in their range."""
    advice = 'Use "float32" unless the device is fast at a shorter one.'
    check_one_of("dtype", dtype, list(_DTYPES), advice)
    check_at_least("batch_size", batch_size, 1)


def load_config(folder: Path) -> Any:
    """The configuration of the model in ``folder``, with the defaults of its class filled in."""
    import_tqdm_auto()
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_network(folder: Path, *, dtype: str, device: torch.device) -> Any:
    """The network in ``folder`` without any task head, in evaluation mode, on ``device``.

    Raises:
        ValueError: The weights do not cover the network. A missing ``pooler`` is no loss: many
            checkpoints lack it, and no pooling here reads it.
    """
    import_tqdm_auto()
    from transformers import AutoModel

    with _no_bar():
        network, info = AutoModel.from_pretrained(
            folder,
            dtype=_DTYPES[dtype],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    lost = sorted(key for key in info["missing_keys"] if "pooler." not in key)
    if lost:
        raise ValueError(
            f"the weights in {folder.name!r} must cover the whole network; {len(lost)} of its "
            f"tensors are missing and would be random, for example {lost[:3]}. "
            "Check that config.json and the weights belong together."
        )
    return network.to(device).eval()


def load_pipeline(folder: Path, *, dtype: str, device: torch.device) -> Any:
    """The sentence-transformers model in ``folder``, all modules, on ``device``."""
    import_tqdm_auto()
    from sentence_transformers import SentenceTransformer

    with _no_bar():
        return SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": _DTYPES[dtype], "use_safetensors": True},
        )


@contextmanager
def _no_bar() -> Iterator[None]:
    """Weights are read without the bar of transformers: nobody asked, and it is over in a second.

    The user's own setting is put back.
    """
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in ``folder``; one without a padding token pads with its end token.

    Padding is masked everywhere here, so which token pads changes nothing.
    """
    import_tqdm_auto()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_image_processor(folder: Path) -> Any:
    """The image preprocessing in ``folder``, done with Pillow and NumPy."""
    import_tqdm_auto()
    from transformers import AutoImageProcessor

    load: Any = AutoImageProcessor.from_pretrained  # has no type information
    return load(folder, backend="pil", local_files_only=True, trust_remote_code=False)


def pick_layer(output: Any, layer: int) -> Tensor:
    """Last states of a forward pass for layer -1, else the hidden states of that index.

    The last states have passed the network's final norm, if it has one; inner hidden states have
    not. Index 0 is what enters the first layer.
    """
    if layer == -1:
        last: Tensor = output.last_hidden_state
        return last
    states: tuple[Tensor, ...] = output.hidden_states
    if not -len(states) <= layer < len(states):
        raise ValueError(
            f"layer must lie in [{-len(states)}, {len(states) - 1}], the hidden states of this "
            f"network; got {layer}. Use -1 for the last."
        )
    return states[layer]


def most_tokens(network: torch.nn.Module, config: Any) -> int | None:
    """Most tokens that a text network with ``config`` has positions for; ``None`` without a limit.

    Networks of RoBERTa's kind (also MPNet, XLM-R, CamemBERT, Longformer, Data2Vec, ESM) count the
    places of their table up to ``padding_idx`` in ``max_position_embeddings``: no token gets one of
    those, so 514 means 512. The table itself says which.
    """
    most: int | None = getattr(config, "max_position_embeddings", None)
    for name, module in network.named_modules():
        before = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and before is not None:
            places = int(module.weight.shape[0]) - int(before) - 1
            most = places if most is None else min(most, places)
    return most


def pool_text(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text, ``(n, d)``, from token states ``(n, t, d)`` padded on the right.

    ``mask``, ``(n, t)`` bool, is true where a token is real, at least one per row. ``pooling`` is
    ``"cls"`` for the first real token, ``"last"`` for the last, any other as ``pool``.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    return pool(states, mask, pooling)


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per item, ``(n, d)``, from all its states ``(n, t, d)`` where ``mask`` is true.

    Dimension by dimension: ``"mean"``; ``"max"``; or ``"gem"``, the generalised mean of power 3,
    ``(mean x^3)^(1/3)``, which lies between the two where states are not negative. Those of a
    transformer may be; an odd power and its root keep the sign.

    Reference:
        Radenovic et al. 2019, arXiv:1711.02512, eq. 3, for ``"gem"``; its power is learned there.
    """
    outside = ~mask[:, :, None]
    if pooling == "max":
        return states.masked_fill(outside, -torch.inf).amax(1)
    powers = states.pow(3) if pooling == "gem" else states
    mean = powers.masked_fill(outside, 0).sum(1) / mask.sum(1)[:, None]
    return mean.sign() * mean.abs().pow(1 / 3) if pooling == "gem" else mean


def inner_layers(depth: int) -> list[int]:
    """Up to ``INNER`` of the layers ``0 .. depth - 1`` before the last, evenly apart, rising."""
    return sorted({step * depth // INNER for step in range(INNER)})
