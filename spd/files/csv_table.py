"""Tables as CSV files that read back as they were, whatever their texts hold."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spd.files.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd


def write_csv(path: Path | str, frame: "pd.DataFrame") -> None:
    """Write a table without its index, whole or not at all; UTF-8, with `\\n` after each row.

    Texts are quoted where they need it; all of them are where one holds a carriage return, which Python's writer
    would leave bare, and readers take for the end of a row.

    Raises:
        SPDError: the file cannot be written.
    """
    texts = frame.select_dtypes(exclude=["number", "bool"])
    has_return = any("\r" in str(value) for column in texts for value in texts[column].unique())
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
    with atomic_write(path, keep_mode=True) as temporary:
        frame.to_csv(temporary, index=False, quoting=quoting, encoding="utf-8", errors="backslashreplace")
