"""Messages whose advice is said in the language of whoever asked: Python, or the command line."""

from __future__ import annotations

from typing import Self


class Advised(str):
    """A message for Python, which carries the same message for the command line.

    It is raised as the text of any exception, and read as one. The command line prints
    ``on_command_line``, which names options and commands where this names arguments and calls.
    """

    on_command_line: str

    def __new__(cls, what: str, *, python: str = "", command: str = "") -> Self:
        """What must hold and what came, and what to do about it here and there."""
        message = super().__new__(cls, f"{what} {python}".rstrip(" "))
        message.on_command_line = f"{what} {command}".rstrip(" ")
        return message

    def followed_by(self, more: str, *, command: str | None = None) -> Self:
        """The same with more behind it, in both languages or with ``command`` in the second."""
        longer = type(self)(f"{self}{more}")
        longer.on_command_line = f"{self.on_command_line}{more if command is None else command}"
        return longer


def on_command_line(error: BaseException) -> str:
    """What an error says to someone at the command line."""
    text = error.args[0] if error.args else ""
    if isinstance(text, Advised):
        return text.on_command_line
    if isinstance(error, KeyError) and isinstance(text, str):
        return text  # str() of these is the repr of their text
    return str(error)
