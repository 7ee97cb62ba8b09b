"""Text for people: durations, byte counts, tables, and what others wrote, so that a terminal can show it."""

import html
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence

_ESCAPED_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Of Unicode: control characters, invisible marks (those of direction among them), half characters, line ends."""
_JOINERS = "\u200c\u200d"
"""Invisible marks that are part of how words and emoji are written."""
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def duration(seconds: float) -> str:
    """`under 1 s`, `45 s`, `12 min`, `3.2 h`, `4.0 days`."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def byte_count(n_bytes: float) -> str:
    """`0.4 GiB`; below a tenth of that, `12 MiB`."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 0.1 * 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def printable(text: str, *, keep: str = "") -> str:
    """Text of others for a terminal, a log or a picture: what would steer the terminal is shown as Python writes it.

    `\\x1b[31m` for an escape sequence, `\\r` and `\\n` for line ends, `\\u202e` for a mark that turns the direction of
    writing, `\\ud800` for half a character. All else, in every script, stays as it is.

    Args:
        keep: characters that stay, such as `\\n` for text of several lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or _is_shown(char) else _escaped(char) for char in text)


def make_streams_safe() -> None:
    """Once, where a command starts: whatever is printed later cannot end it.

    A character that the terminal's encoding lacks is written as Python writes it (`\\u2713`). Where stdin, stdout or
    stderr is closed, as with `>&-`, it leads nowhere from now on: otherwise the next file that is opened would take its
    place, and with it what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(handle, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def table_lines(rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    """Rows of cells, a header first, in columns: text to the left, numbers to the right (none without `numbers`).

    Cells are made `printable`, so that a row is a line.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [numbers and all(_is_number(row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def html_card(
    title: str, facts: Mapping[str, object], columns: Sequence[str], rows: Sequence[Sequence[str]], n_rows: int
) -> str:
    """What an object shows of itself in a notebook: facts, and a table of its first rows (`n_rows` in all).

    All text is escaped, marks that turn its direction are shown as such, and colours are the notebook's own.
    """
    parts = [f"<div><b>{_escape_html(title)}</b>"]
    parts += [f"<br>{_escape_html(name)}: {_escape_html(str(value))}" for name, value in facts.items()]
    if rows:
        head = "".join(f"<th style='text-align:left'>{_escape_html(column)}</th>" for column in columns)
        body = ("".join(f"<td style='text-align:left'>{_escape_html(cell)}</td>" for cell in row) for row in rows)
        lines = "".join(f"<tr>{line}</tr>" for line in body)
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
    if len(rows) < n_rows:
        parts.append(f"<br>{len(rows):,} of {n_rows:,} shown")
    return "".join([*parts, "</div>"])


def _escape_html(text: str) -> str:
    return html.escape(printable(text))


def _is_shown(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _ESCAPED_CATEGORIES


def _escaped(char: str) -> str:
    return _SHORT_ESCAPES.get(char) or char.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").removesuffix("%") or "0")
    except ValueError:
        return False
    return True
