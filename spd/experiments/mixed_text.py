"""The bundled language model's text: chapters of the King James Bible, and documents with planted regularities.

It lies in the run's directory, a line for each document, {"text", "source"}, all in one random order; the planted ones
are what `planted_texts` gives.
"""

import json
import random
from pathlib import Path

from spd.errors import MissingFileError
from spd.experiments.planted_text import planted_document

NATURAL, PLANTED = "king james bible", "planted"
"""Where a document comes from: the `source` of its line."""

N_PLANTED = {"train": 2000, "test": 200}
"""Planted documents by split."""


def planted_texts(split: str) -> list[str]:
    """The planted documents of a split, always the same ones."""
    rng = random.Random(f"planted {split}")
    return [planted_document(rng).text for _ in range(N_PLANTED[split])]


def read_texts(path: Path, source: str | None = None) -> list[str]:
    """The `text` of each line of a .jsonl file; with `source`, of the lines from there.

    Raises:
        MissingFileError: there is no such file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: the text that the language model is trained on is missing")
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["text"] for row in rows if source in (None, row.get("source"))]
