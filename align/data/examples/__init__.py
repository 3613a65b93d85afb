"""Pairs to try things with; they come with the package, so nothing is downloaded."""
