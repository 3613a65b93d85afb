"""How a folder wants its texts to be encoded, read from its JSON files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from align._checks import check_at_least, check_one_of
from align.encoders.pretrained.folder import architecture, read_config
from align.encoders.pretrained.network import TextPooling
from align.encoders.pretrained.safety import (
    check_modules,
    check_no_code,
    module_folder,
    read_settings,
)

TEXT_FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json",
)  # fmt: skip

# Names of one pooling: ours, that of sentence-transformers 6, and the switch of older folders.
_POOLINGS = {
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "cls": ("cls", "pooling_mode_cls_token"),
    "last": ("lasttoken", "pooling_mode_lasttoken"),
}

# What a Transformer module may say and still be nothing but a forward pass.
_PLAIN = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "do_lower_case": False,
}
_PLAIN_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What happens to a text between the item and its vector."""

    transformer: Path  # folder of the network and its tokenizer
    model_type: str  # name that transformers knows the network by
    architecture: str  # class that wrote the network
    pooling: str  # "mean", "cls", "last", or "own" for the model's own last steps
    normalize: bool  # the pooled vector is scaled to unit length
    pipeline: bool  # sentence-transformers runs the folder, which does more than pool and scale
    prompt: str  # stands before each text
    max_length: int | None  # tokens kept per text; None for the most that the network takes


def read_recipe(
    folder: Path,
    *,
    pooling: str | None,
    layer: int,
    prompt: str | None,
    max_length: int | None,
) -> Recipe:
    """The recipe of a folder of either library, with options of ``TextEncoder``."""
    advice = "None is the model's own: leave pooling out if in doubt."
    check_one_of("pooling", pooling, (*get_args(TextPooling), None), advice)
    if max_length is not None:
        check_at_least("max_length", max_length, 1)
    modules = read_settings(folder / "modules.json") or []
    transformer = _transformer_folder(folder, modules)
    config = read_config(transformer)
    says = read_settings(transformer / "sentence_bert_config.json")
    own, normalize, pipeline = pooling or "mean", False, False
    if pooling is None and modules:
        own, normalize, pipeline = _own_steps(folder, modules, says)
        if pipeline and layer != -1:
            raise ValueError(
                f"the own pooling of {folder.name!r} needs the last layer, because its modules "
                f"{_names(modules)} do more than pool; got layer {layer}. Give pooling as well."
            )
    elif pooling is None and layer == -1 and config["model_type"] in ("clip", "siglip"):
        own = "own"
    return Recipe(
        transformer=transformer,
        model_type=config["model_type"],
        architecture=architecture(config),
        pooling=own,
        normalize=normalize,
        pipeline=pipeline,
        prompt=prompt if prompt is not None else _own_prompt(folder),
        max_length=max_length if max_length is not None else says.get("max_seq_length"),
    )


def _names(modules: list[Any]) -> list[str]:
    return [module["type"].rpartition(".")[2] for module in modules]


def _transformer_folder(folder: Path, modules: list[Any]) -> Path:
    """Where the network is: the folder itself, or its first module's part of it."""
    if not modules:
        return folder
    check_no_code(folder)
    check_modules(folder, modules)
    if _names(modules)[0] != "Transformer":
        raise ValueError(
            "a sentence-transformers folder must begin with a Transformer module; "
            f"{folder.name!r} holds {_names(modules)}. Load it with SentenceTransformer and wrap "
            "its encode in CallableEncoder."
        )
    return module_folder(folder, modules[0]["path"])


def _own_steps(folder: Path, modules: list[Any], says: dict[str, Any]) -> tuple[str, bool, bool]:
    """Pooling, whether to normalize, and whether only sentence-transformers can do it."""
    names = _names(modules)
    plain = all(says.get(key, value) == value for key, value in _PLAIN.items())
    text = says.get("modality_config", {}).get("text", _PLAIN_TEXT)
    other = set(says) - {*_PLAIN, "modality_config", "max_seq_length"}
    if names[1:] in (["Pooling"], ["Pooling", "Normalize"]) and plain and text == _PLAIN_TEXT:
        pooling = _own_pooling(read_settings(folder / modules[1]["path"] / "config.json"))
        if pooling is not None and not other:
            return pooling, "Normalize" in names, False
    return "own", False, True


def _own_pooling(says: dict[str, Any]) -> str | None:
    """Our name of the one pooling in a Pooling module's config; ``None`` for any other."""
    if not says.get("include_prompt", True):
        return None
    switches = [k for k, on in says.items() if k.startswith("pooling_mode_") and on]
    mode = says.get("pooling_mode", switches[0] if len(switches) == 1 else None)
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    return next((ours for ours, theirs in _POOLINGS.items() if mode in theirs), None)


def _own_prompt(folder: Path) -> str:
    """The prompt that a sentence-transformers folder puts before every text by default."""
    says = read_settings(folder / "config_sentence_transformers.json")
    return str(says.get("prompts", {}).get(says.get("default_prompt_name"), ""))
