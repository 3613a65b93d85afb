"""The page of the command `align`, written from the help of each command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

_EXAMPLE = re.compile(r"^(?:Examples?:\s+)?`(align [^`]+)`$|^Examples:$", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w`-])--[a-z][a-z-]+\b(?!`)")


def command_line() -> str:
    """The reference of `align` as Markdown: a table of commands, then one section each."""
    import typer
    from typer.main import get_command

    from align.apps.cli.app import app

    whole = get_command(app)
    commands = list(_leaves(whole, "align"))
    listed = [f"| [`{name}`](#{_anchor(name)}) | {_first(each)} |" for name, each in commands]
    lines = [
        "# Command line",
        "",
        f"{whole.help}",
        "`python -m align` is the same. `-h` after any command prints what this page says of it.",
        "",
        *("| command | what it does |", "|---|---|", *listed, ""),
        *_table(whole, typer.Context(whole, info_name="align"), "Before the command"),
        str(app.info.epilog),
        "",
    ]
    for name, each in commands:
        lines += _section(each, name)
    return "\n".join(lines)


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield name, command
    for each, sub in below.items():
        yield from _leaves(sub, f"{name} {each}")


def _section(command: Any, name: str) -> list[str]:
    import typer

    context = typer.Context(command, info_name=name)
    text = command.help or ""
    examples = [_wrapped(each) for each in _EXAMPLE.findall(text) if each]
    said = _FLAG.sub(r"`\g<0>`", _EXAMPLE.sub("", text)).strip()
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    return [
        f"## `{name}` {{ #{_anchor(name)} }}",
        "",
        *("```text", usage, "```", ""),
        *(said, ""),
        *(("```console", "\n\n".join(examples), "```", "") if examples else ()),
        *_table(command, context, "Options"),
    ]


def _table(command: Any, context: Any, options: str) -> list[str]:
    """What a command takes, panel by panel of its help, those without one under `options`."""
    panels: dict[str, list[str]] = {}
    for each in command.params:
        record = each.get_help_record(context)
        if record is None:  # hidden
            continue
        panel = getattr(each, "rich_help_panel", None) or options
        flag, text = record
        if each.param_type_name == "argument":
            panel, flag = "Arguments", each.metavar or each.name.upper()
        panels.setdefault(panel, []).append(f"| {_code(flag)} | {_text(text)} |")
    first, *others = sorted(panels, key=lambda panel: (panel != "Arguments", panel != options))
    lines = [f"| {first} | |", "|---|---|", *panels[first]]
    for panel in others:
        lines += [f"| **{panel}** | |", *panels[panel]]
    return [*lines, ""]


def _wrapped(example: str) -> str:
    """A command over several lines, where one would be long."""
    words = [shlex.quote(word) for word in shlex.split(example)]
    if len(" ".join(words)) <= 60:
        return " ".join(words)
    lines = [""]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        length = len(lines[-1]) + len(word)
        is_long = length + len(following) > 55 if word.startswith("-") else length > 70
        if is_long and lines[-1]:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n    ".join(lines)


def _first(command: Any) -> str:
    """The first sentence of the help of a command."""
    return re.split(r"(?<=\.)\s", " ".join((command.help or "").split()))[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _code(flag: str) -> str:
    said = flag.replace("<int range>", "<int>").replace("<list[Path]>", "<path>")
    return f"`{_cell(said)}`"


def _text(text: str) -> str:
    """A help text with its default and requirement at its end, as words."""
    said = re.sub(r"\s*\[(default: [^\]]+|required|x>=[^\]]+|[^\]]*<=x[^\]]*)\]", r" *(\1)*", text)
    return _FLAG.sub(r"`\g<0>`", _cell(said))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
