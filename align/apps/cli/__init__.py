"""The command line: each command is a few lines over the library. The only room that prints."""

from align.apps.cli.app import app, main

__all__ = ["app", "main"]
