"""The tiny networks of ``tests/helpers/tiny_models.py``, for the tests of every encoder."""

from tests.helpers.tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    clip,
    clip_vision,
    convnext,
    convnextv2,
    dinov2,
    dinov2_registers,
    dinov3,
    gpt,
    image_processor,
    pictures,
    resnet,
    sbert,
    sentence_folder,
    siglip,
    siglip_vision,
    t5,
    vit,
    write,
)
