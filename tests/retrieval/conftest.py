"""Tiny text models that the card of an adapter can name."""

from tests.helpers.tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    sbert,
    sentence_folder,
    write,
)
