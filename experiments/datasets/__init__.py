"""Pairs to align: one set that is always there, and loaders for folders under ISTHMUS_DATA."""

from experiments.datasets.captions import flickr8k, multi30k, shared_photos
from experiments.datasets.code_search import CodeSearch, conala, cosqa, django_pseudocode
from experiments.datasets.folders import data_folder
from experiments.datasets.stdlib_code import stdlib_code
from experiments.datasets.translation import tanaka_enja

__all__ = [
    "CodeSearch",
    "conala",
    "cosqa",
    "data_folder",
    "django_pseudocode",
    "flickr8k",
    "multi30k",
    "shared_photos",
    "stdlib_code",
    "tanaka_enja",
]
