"""Encoders by a short name, whose weights come in Python packages."""
