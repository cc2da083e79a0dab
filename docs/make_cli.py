"""Write docs/cli.md from the command line itself, so that the two cannot differ.

python docs/make_cli.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from leadline.cli.app import VERBS, app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 96


def page() -> str:
    """The page: help of every verb, as the terminal shows it."""
    parts = [
        "# Command line",
        "",
        "Made by `python docs/make_cli.py` from the command line itself; do not edit.",
        "",
    ]
    with click.Context(app, info_name="leadline", max_content_width=WIDTH) as top:
        for name in VERBS:
            command = app.get_command(top, name)
            assert command is not None, name
            parts += _section(command, top, f"leadline {name}")
    return "\n".join(parts)


def _section(command: click.Command, parent: click.Context, title: str) -> list[str]:
    info = title.rsplit(" ", 1)[-1]
    context = click.Context(command, info_name=info, parent=parent, max_content_width=WIDTH)
    context.terminal_width = WIDTH
    lines = [f"## {title}", "", "```text", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            lines += _section(inner, context, f"{title} {name}")
    return lines


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/cli.md is out of date: run python docs/make_cli.py")
    else:
        PAGE.write_text(text, encoding="utf-8")
