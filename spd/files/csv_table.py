"""Tables as CSV files that read back as they were, whatever their texts hold."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spd.files.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd


def quoting_of(texts: Iterable[str]) -> Literal[0, 2]:
    """How Python's csv writer must quote a table that holds these texts, so that each row stays one row."""
    return csv.QUOTE_NONNUMERIC if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL


def write_csv(path: Path | str, frame: "pd.DataFrame") -> None:
    """Write a table without its index, whole or not at all; UTF-8, with `\\n` after each row.

    Texts are quoted where they need it; all of them are where one holds a carriage return, which Python's writer
    would leave bare, and readers take for the end of a row.

    Raises:
        SPDError: the file cannot be written.
    """
    texts = frame.select_dtypes(exclude=["number", "bool"])
    quoting = quoting_of(str(value) for column in texts for value in texts[column].unique())
    with atomic_write(path, keep_mode=True) as temporary:
        frame.to_csv(temporary, index=False, quoting=quoting, encoding="utf-8", errors="backslashreplace")
