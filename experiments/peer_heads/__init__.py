"""Trained heads that others use or have published, each in one file, on cached features."""
