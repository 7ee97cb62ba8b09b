"""The log of a run or of a pipeline: what the terminal shows, with time and process, in a file."""

import logging
from pathlib import Path

from spd.errors import SPDError
from spd.text import printable


class _LogFormatter(logging.Formatter):
    """A label or a token of somebody else's steers no terminal on which the log is read."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def log_to_file(path: Path) -> None:
    """From now on messages are also appended to this file.

    Raises:
        SPDError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SPDError(f"{path}: cannot be written: {error.strerror or error}") from error
    handler.setFormatter(_LogFormatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    for name in ("spd", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
