"""Tiny networks with tokens and patches."""

from tests.helpers.tiny_models import image_processor, vit

__all__ = ["image_processor", "vit"]
