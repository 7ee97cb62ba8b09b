"""The log of a run or of a pipeline: what the terminal shows, with time and process, in a file."""

import logging
from pathlib import Path

from spd.errors import SPDError


def log_to_file(path: Path) -> None:
    """From now on messages are also appended to this file.

    Raises:
        SPDError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SPDError(f"{path}: cannot be written: {error.strerror or error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    for name in ("spd", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
