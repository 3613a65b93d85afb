"""Encoders named in one line, for the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from align.encoders.naming import model_and_options

if TYPE_CHECKING:
    from align.data.encoding import Encoder


KIND = "(?:text|code|image|python):"
_NAMED = re.compile(rf"\s*([\w|]+)=(?={KIND})")
_BETWEEN_NAMED = re.compile(rf";(?=\s*(?:[\w|]+=)?{KIND})")
_BETWEEN_PARTS = re.compile(rf"\+(?={KIND})")
_RUNS_CODE = re.compile(r"(?:^|[;+=])\s*python:")


def from_spec(spec: str) -> Encoder:
    """The encoder that ``spec`` names.

    Args:
        spec: ``text:MODEL``, ``code:MODEL`` or ``image:MODEL``, where MODEL is a hub id or a
            local folder, and options that are not the default follow as in
            ``text:A?pooling=cls&layer=-2``; or ``python:MODULE:ATTRIBUTE``, an encoder in an
            importable module, or a function or class that gives one when it is called without
            arguments. Several with ``+`` between them stand side by side, as in
            ``text:A+text:B``; several by modality with ``;`` between them are one encoder of mixed
            items, as in ``image=image:A;code=text:B``.

    Raises:
        ValueError: ``spec`` is of no such form, or the attribute gives no encoder.
        ModuleNotFoundError: MODULE cannot be found.
        AttributeError: MODULE has no such attribute.
    """
    if _NAMED.match(spec):
        return _mixed(_BETWEEN_NAMED.split(spec))
    parts = _BETWEEN_PARTS.split(spec)
    if len(parts) > 1:
        from align.encoders.composite import ConcatEncoder

        return ConcatEncoder(*map(_single, parts))
    return _single(spec)


def from_card(encoders: Mapping[str, str], role: str) -> Encoder:
    """The encoder that an adapter remembers, if building it runs no code that the card names.

    Args:
        encoders: ``adapter.card.encoders``.
        role: ``"source"``, ``"target"`` or ``"instruction"``.

    Raises:
        ValueError: Nothing is remembered, or it is a ``python:`` encoder. Whoever wrote the card
            would choose what is imported and called; that is for the user to say.
    """
    spec = encoders.get(role)
    if spec is None:
        raise ValueError(
            f"the {role} encoder must be known; the adapter's card does not name it, as where it "
            "is a function or the vectors came from elsewhere. "
            f"Pass the encoder, or name it: --{role}-encoder text:MODEL (--encoder where one side "
            "is encoded)."
        )
    if _RUNS_CODE.search(spec):
        raise ValueError(
            f"an encoder that is remembered must be one that runs no code which the adapter's card "
            f"chooses; the {role} encoder is {spec!r}. If you trust that module, pass the encoder "
            f"yourself, or name it: --{role}-encoder {spec} (--encoder where one side is encoded)."
        )
    return from_spec(spec)


def _mixed(specs: list[str]) -> Encoder:
    from align.encoders.composite import MixedEncoder

    named: dict[str, Encoder] = {}
    for spec in specs:
        match = _NAMED.match(spec)
        name = "" if match is None else match[1].lower()
        if match is None or name in named:
            raise ValueError(
                "a mixed encoder must name each modality once, as in image=image:A;code=text:B; "
                f"got {spec!r} among {specs}. Write MODALITY=ENCODER between semicolons."
            )
        named[name] = from_spec(spec[match.end() :].strip())
    return MixedEncoder(named)


def _single(spec: str) -> Encoder:
    kind, _, rest = spec.partition(":")
    encoder: type[Any]
    match kind:
        case "text" | "code" if rest:
            from align.encoders.text import CodeEncoder, TextEncoder

            encoder = TextEncoder if kind == "text" else CodeEncoder
        case "image" if rest:
            from align.encoders.image import ImageEncoder

            encoder = ImageEncoder
        case "python" if rest.count(":") == 1:
            return _from_python(*rest.split(":"))
        case _:
            raise ValueError(
                "an encoder must be written text:MODEL, code:MODEL, image:MODEL or "
                f"python:MODULE:ATTRIBUTE; got {spec!r}. "
                "MODEL is a hub id or a folder, for example image:facebook/dinov2-small."
            )
    model, options = model_and_options(encoder, rest)
    built: Encoder = encoder(model, **options)
    return built


def _from_python(module: str, attribute: str) -> Encoder:
    try:
        home = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and fails to import another
        raise ModuleNotFoundError(
            f"python:{module}:{attribute} must name an importable module; there is no "
            f"{error.name!r}. Install it, or put its folder on PYTHONPATH.",
            name=error.name,
        ) from error
    if not hasattr(home, attribute):
        raise AttributeError(
            f"{module!r} must define {attribute!r}, an encoder or a function that returns one; "
            "it does not. Check the spelling."
        )
    value = getattr(home, attribute)
    if callable(value) and (isinstance(value, type) or not _is_encoder(value)):
        value = value()
    if not _is_encoder(value):
        raise ValueError(
            f"{module}:{attribute} must give an encoder, with modality, dim, fingerprint and "
            f"encode; got a {type(value).__name__}. Wrap a function in CallableEncoder."
        )
    encoder: Encoder = value
    return encoder


def _is_encoder(value: Any) -> bool:
    """Whether ``value`` has the parts of an encoder; looks without computing any of them."""
    parts = ("modality", "dim", "fingerprint", "encode")
    return all(inspect.getattr_static(value, part, None) is not None for part in parts)
