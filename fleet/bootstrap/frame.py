"""Loud messages: a frame on stderr that stands out among log lines."""

from __future__ import annotations

from collections.abc import Iterable

import click


def framed(title: str, lines: Iterable[str]) -> str:
    """Title and lines inside a frame of ASCII, so that any terminal and log store shows it."""
    body = [title.upper(), "", *lines]
    width = max(map(len, body))
    edge = f"+{'-' * (width + 2)}+"
    return "\n".join([edge, *(f"| {line.ljust(width)} |" for line in body), edge])


def print_framed(title: str, lines: Iterable[str]) -> None:
    """Write the frame to stderr: yellow there on a terminal, plain elsewhere."""
    click.secho(framed(title, lines), err=True, fg="yellow")
