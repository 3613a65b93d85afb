"""How a command is called, in one line: ``align fit [OPTIONS] PAIRS``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose usage names its arguments as they are written in documents.

    An argument that stands for several, such as ``[ADAPTER] PAIRS``, says so in its own name.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words that follow the name of the command."""
        pieces = [self.options_metavar] if self.options_metavar else []
        for each in self.params:
            if each.param_type_name == "argument":
                name = each.metavar or str(each.name).upper()
                pieces.append(name if each.required else f"[{name}]")
        return pieces
