"""An adapter as a sentence-transformers model, of built-in modules only."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Router
from torch import Tensor, nn

from align._checks import check_side
from align.adapters.adapter import Adapter
from align.adapters.maps.linear import AffineMap, BlendMap, IdentityMap, LinearMap
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.residual import ResidualMap
from align.data.sides import Side, other_side


def to_sentence_transformers(
    adapter: Adapter,
    *,
    source: SentenceTransformer | None = None,
    target: SentenceTransformer | None = None,
    queries: Side = "source",
    drop_correction: bool = False,
) -> SentenceTransformer:
    """A model whose ``encode_query`` and ``encode_document`` give an adapter's vectors.

    ``encode_query`` gives ``adapter.queries`` of the encoder's vectors on the side of the queries,
    ``encode_document`` ``adapter.gallery`` on the other, to float32 rounding. The folder
    that ``save_pretrained`` writes is loaded by ``SentenceTransformer(folder)`` without
    ``trust_remote_code``: Normalize, Dense and Router are all that is added. Scores are inner
    products. With one encoder, all three ``encode`` methods give the vectors of its side.

    Dense layers and one normalisation at a time can hold a linear, affine or identity map, and a
    projection network. They hold no signed root, no parts, and nothing that adds or joins two
    branches, as blends and residuals do.

    Args:
        adapter: Fitted on vectors of the encoders below.
        source: Encoder of the source side, in float32; its modules are shared, not copied.
        target: Encoder of the target side, likewise. At least one is needed.
        queries: The side of the queries.
        drop_correction: Leave out the hubness correction and the expansion of gallery vectors,
            which no built-in module can compute: both sides are then plain unit vectors. It changes
            rankings. Queries alone, for a gallery made by ``adapter.gallery``, need no drop.

    Raises:
        ValueError: Neither encoder is given, one is not in float32 or its width does not fit, the
            adapter is of an architecture that built-in modules cannot express, or it corrects
            gallery vectors and the correction was not dropped.
    """
    check_side(queries)
    given = {"source": source, "target": target}
    towers = {side: model for side, model in given.items() if model is not None}
    documents = other_side(queries)
    if not towers:
        raise ValueError(
            "a model for sentence-transformers starts from an encoder; got neither source nor "
            "target. Pass the SentenceTransformer whose vectors the adapter was fitted on."
        )
    if adapter.preference is not None:
        raise ValueError(
            "built-in modules can express an adapter without instructions only; this one prefers "
            "kinds of item by instruction. Use it with its encoders by align.Embedder."
        )
    reference = None if drop_correction else adapter.reference
    if reference is not None and documents in towers:
        raise ValueError(
            "built-in modules can express the maps of an adapter, but not what it does to gallery "
            f"vectors besides; this one corrects or expands those of the {documents} side. Pass "
            "drop_correction=True to leave that out, or make gallery vectors with align.Embedder "
            "and export the side of the queries alone."
        )
    if reference is not None and queries in towers and reference.query_expansion is not None:
        raise ValueError(
            "built-in modules can express the maps of an adapter, but not how it expands queries "
            f"besides; this one expands those of the {queries} side. Pass drop_correction=True to "
            'leave that out, fit with effort="fast", or use the adapter by align.Embedder.'
        )
    layers = {}
    for side, model in towers.items():
        part: Any = adapter.source_map if side == "source" else adapter.target_map
        _check_fits(side, model, part.d_in)
        layers[side] = [*model, *_modules(side, part)]
    if reference is not None and adapter.d_search > adapter.dim:
        layers[queries].append(_one_more(adapter.dim))
    one = next(iter(towers.values()))
    prompts = {
        "query": _prompt(towers.get(queries, one)),
        "document": _prompt(towers.get(documents, one)),
    }
    modules: list[Any] = next(iter(layers.values()))
    if len(layers) == 2:
        modules = [Router.for_query_document(layers[queries], layers[documents])]
    return SentenceTransformer(
        modules=modules,
        device=str(one.device),
        prompts=prompts,
        default_prompt_name="query" if prompts["query"] else None,
        similarity_fn_name="dot",
    )


def _prompt(model: SentenceTransformer) -> str:
    """What ``model.encode`` puts before a text: adapters are fitted on vectors of ``encode``."""
    name = model.default_prompt_name
    return "" if name is None else str(model.prompts.get(name) or "")


def _check_fits(side: str, model: SentenceTransformer, d_in: int) -> None:
    width = model.get_embedding_dimension()
    if width != d_in or model.truncate_dim is not None:
        raise ValueError(
            f"the {side} encoder must give vectors of the {d_in} columns that the adapter takes, "
            f"untruncated; got {width} columns and truncate_dim={model.truncate_dim}. "
            "Pass the encoder that the adapter was fitted on."
        )
    others = {str(each.dtype) for each in model.parameters()} - {"torch.float32"}
    if others:
        raise ValueError(
            f"the {side} encoder must be in float32, as the adapter's maps are; "
            f"got {sorted(others)}. Call .float() on it first."
        )


def _modules(side: str, part: nn.Module) -> list[Module]:
    """Built-in modules that map what is called ``sentence_embedding`` as ``part`` would."""
    match part:
        case IdentityMap():
            return [Normalize()]
        case LinearMap() | LinearHead() if not _prepared_otherwise(part):
            return [*_centred(part.mean), _dense(part.weight), Normalize()]
        case AffineMap():
            return [*_centred(part.mean), _dense(part.weight, part.offset), Normalize()]
        case ProjectionMap():
            hidden = _dense(part.first, part.first_bias, activation=nn.ReLU())
            last = _dense(part.second, part.second_bias)
            return [*_centred(part.mean), hidden, last, Normalize()]
        case _:
            raise ValueError(
                "built-in modules can express linear, affine and identity maps and projection "
                f"networks; the {side} map of this adapter is {_called(part)}. Fit a closed form, "
                "such as rcca (align.adapters.closed_form.rcca), or use this one with its "
                "encoders by align.Embedder."
            )


def _prepared_otherwise(part: LinearMap | LinearHead) -> bool:
    return isinstance(part, LinearMap) and (part.root or part.parts is not None)


def _called(part: nn.Module) -> str:
    match part:
        case LinearMap() if part.root:
            return "a linear map of signed square roots"
        case LinearMap():
            return "a linear map of parts that are normalised one by one"
        case BlendMap():
            return f"a blend of {len(part.maps)} maps, each normalised by itself"
        case ResidualMap():
            return "a map with a residual, which adds two branches"
        case _:
            return f"a {type(part).__name__}"


def _centred(mean: Tensor) -> list[Module]:
    # As the bias of the next layer the mean would cost digits: vectors of one encoder lie close.
    return [Normalize(), _dense(torch.eye(len(mean)), -mean)]


def _dense(
    weight: Tensor, bias: Tensor | None = None, *, activation: nn.Module | None = None
) -> Dense:
    d_in, d_out = weight.shape
    # Cloned: safetensors refuses a view of a larger tensor, and training must not reach ours.
    return Dense(
        d_in,
        d_out,
        bias=bias is not None,
        activation_function=nn.Identity() if activation is None else activation,
        init_weight=weight.detach().T.cpu().clone(memory_format=torch.contiguous_format),
        init_bias=None if bias is None else bias.detach().cpu().clone(),
    )


def _one_more(dim: int) -> Dense:
    """Appends a one to unit vectors: it meets the column that holds a gallery's correction."""
    return _dense(torch.eye(dim, dim + 1), torch.eye(dim + 1)[-1])
