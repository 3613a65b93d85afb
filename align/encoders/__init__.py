"""Frozen networks, and functions, that turn items into vectors."""
