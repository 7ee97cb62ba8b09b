"""What a file holds, in a few bytes: so that a result can name the very files that it was made from."""

import hashlib
import time
from pathlib import Path
from typing import TypedDict

from spd.errors import MissingFileError, SPDError

_RECENT_SECONDS = 2.0
"""A file may change twice within one tick of its clock: while it is this young, nothing is remembered of it."""


class Fingerprint(TypedDict):
    """As it stands in JSON files.

    Attributes:
        size: bytes.
        sha256: of all of them, hexadecimal.
    """

    size: int
    sha256: str


_known: dict[tuple[str, int, int, int], str] = {}


def fingerprint(path: Path) -> Fingerprint:
    """Read as a stream. Within a process a file whose size, time and inode stay is read once.

    Raises:
        MissingFileError: there is no such file.
        SPDError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            status = path.stat()
            key = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino)
            if key not in _known:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if time.time() - status.st_mtime < _RECENT_SECONDS:
                    return {"size": status.st_size, "sha256": digest}
                _known[key] = digest
            return {"size": status.st_size, "sha256": _known[key]}
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
