"""The tiny networks that a user's own models stand for."""

from tests.helpers.tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    image_processor,
    sbert,
    sentence_folder,
    vit,
    write,
)
