"""Align two frozen encoders from a few thousand pairs, and search across them.

The public names load on first use, so that ``import align`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter as Adapter
    from align.adapters.artifact import load as load
    from align.adapters.instructed import with_instructions as with_instructions
    from align.adapters.meta_artifact import load_meta_tokens as load_meta_tokens
    from align.adapters.meta_tokens import MetaTokens as MetaTokens
    from align.adapters.projection import projection_network as projection_network
    from align.adapters.residual import residual as residual
    from align.chance import NoBetterThanChance as NoBetterThanChance
    from align.embeddings import Embeddings as Embeddings
    from align.embeddings import Encoder as Encoder
    from align.embeddings import PairedEmbeddings as PairedEmbeddings
    from align.embeddings import TokenEncoder as TokenEncoder
    from align.encoders.callable import CallableEncoder as CallableEncoder
    from align.encoders.composite import ConcatEncoder as ConcatEncoder
    from align.encoders.composite import MixedEncoder as MixedEncoder
    from align.encoders.image import ImageEncoder as ImageEncoder
    from align.encoders.text import CodeEncoder as CodeEncoder
    from align.encoders.text import TextEncoder as TextEncoder
    from align.evaluation import NotHeldOut as NotHeldOut
    from align.evaluation import compare as compare
    from align.evaluation import evaluate as evaluate
    from align.fde import FDE as FDE
    from align.instructing import instruct as instruct
    from align.late_interaction import maxsim as maxsim
    from align.late_interaction import topk as topk
    from align.losses.contrastive import info_nce as info_nce
    from align.losses.contrastive import n_pairs as n_pairs
    from align.losses.modality_aware import mac as mac
    from align.losses.modality_aware import mamcl as mamcl
    from align.meta_evaluation import evaluate_meta_tokens as evaluate_meta_tokens
    from align.meta_selection import fit_meta_tokens as fit_meta_tokens
    from align.migration.upgrade import upgrade as upgrade
    from align.multivector import MultiVector as MultiVector
    from align.pairs import Pairs as Pairs
    from align.repeats import RepeatedItems as RepeatedItems
    from align.retrieval.cascade import candidates_for as candidates_for
    from align.retrieval.cascade import cascade as cascade
    from align.retrieval.embedder import Embedder as Embedder
    from align.retrieval.first_stages import first_stage as first_stage
    from align.retrieval.fusion import reciprocal_rank_fusion as reciprocal_rank_fusion
    from align.retrieval.fusion import z_score_fusion as z_score_fusion
    from align.retrieval.hits import Hit as Hit
    from align.retrieval.index import Index as Index
    from align.retrieval.nudge import nudge as nudge
    from align.retrieval.rescoring import rescore_hits as rescore_hits
    from align.retrieval.retriever import Retriever as Retriever
    from align.retrieval.wrap import wrap as wrap
    from align.selection import fit as fit
    from align.store import EmbeddingStore as EmbeddingStore
    from align.token_pairs import TokenPairs as TokenPairs
    from align.token_pooling import pool_tokens as pool_tokens
    from align.training.batch import Batch as Batch
    from align.training.config import TrainConfig as TrainConfig
    from align.training.loop import train as train
    from align.training.stages import Stage as Stage
    from align.training.stages import train_stages as train_stages
    from align.tuning.study import tune as tune

_HOME = {
    "Pairs": "align.pairs",
    "Encoder": "align.embeddings",
    "TokenEncoder": "align.embeddings",
    "TextEncoder": "align.encoders.text",
    "CodeEncoder": "align.encoders.text",
    "ImageEncoder": "align.encoders.image",
    "CallableEncoder": "align.encoders.callable",
    "ConcatEncoder": "align.encoders.composite",
    "MixedEncoder": "align.encoders.composite",
    "EmbeddingStore": "align.store",
    "Embeddings": "align.embeddings",
    "MultiVector": "align.multivector",
    "PairedEmbeddings": "align.embeddings",
    "fit": "align.selection",
    "Adapter": "align.adapters.adapter",
    "load": "align.adapters.artifact",
    "evaluate": "align.evaluation",
    "compare": "align.evaluation",
    "NoBetterThanChance": "align.chance",
    "NotHeldOut": "align.evaluation",
    "RepeatedItems": "align.repeats",
    "Index": "align.retrieval.index",
    "Hit": "align.retrieval.hits",
    "Embedder": "align.retrieval.embedder",
    "Retriever": "align.retrieval.retriever",
    "wrap": "align.retrieval.wrap",
    "MetaTokens": "align.adapters.meta_tokens",
    "load_meta_tokens": "align.adapters.meta_artifact",
    "maxsim": "align.late_interaction",
    "topk": "align.late_interaction",
    "TokenPairs": "align.token_pairs",
    "fit_meta_tokens": "align.meta_selection",
    "evaluate_meta_tokens": "align.meta_evaluation",
    "FDE": "align.fde",
    "pool_tokens": "align.token_pooling",
    "cascade": "align.retrieval.cascade",
    "candidates_for": "align.retrieval.cascade",
    "first_stage": "align.retrieval.first_stages",
    "rescore_hits": "align.retrieval.rescoring",
    "reciprocal_rank_fusion": "align.retrieval.fusion",
    "z_score_fusion": "align.retrieval.fusion",
    "projection_network": "align.adapters.projection",
    "residual": "align.adapters.residual",
    "train": "align.training.loop",
    "TrainConfig": "align.training.config",
    "Batch": "align.training.batch",
    "train_stages": "align.training.stages",
    "tune": "align.tuning.study",
    "Stage": "align.training.stages",
    "upgrade": "align.migration.upgrade",
    "nudge": "align.retrieval.nudge",
    "info_nce": "align.losses.contrastive",
    "instruct": "align.instructing",
    "with_instructions": "align.adapters.instructed",
    "n_pairs": "align.losses.contrastive",
    "mamcl": "align.losses.modality_aware",
    "mac": "align.losses.modality_aware",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'align' has no attribute {name!r}; it has {sorted(_HOME)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
