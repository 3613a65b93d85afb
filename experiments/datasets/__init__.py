"""Pairs to align: two sets that are always there, and loaders for folders under ISTHMUS_DATA."""

from experiments.datasets.captions import flickr8k, multi30k, shared_photos
from experiments.datasets.code_search import CodeSearch, conala, cosqa, django_pseudocode
from experiments.datasets.emoji import Emoji, emoji, emoji_entries
from experiments.datasets.folders import data_folder
from experiments.datasets.stdlib_code import stdlib_code
from experiments.datasets.translation import tanaka_enja

__all__ = [
    "CodeSearch",
    "Emoji",
    "conala",
    "cosqa",
    "data_folder",
    "django_pseudocode",
    "emoji",
    "emoji_entries",
    "flickr8k",
    "multi30k",
    "shared_photos",
    "stdlib_code",
    "tanaka_enja",
]
