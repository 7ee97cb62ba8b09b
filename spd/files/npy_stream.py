"""Vectors in .npy files that may be larger than memory: written piece by piece, read piece by piece or mapped.

The file has a temporary name until it is finished, so that one under its own name is whole. Its checksum is of the
values alone: how many there are, which the header says, is known last.
"""

import contextlib
import hashlib
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

import numpy as np
from jaxtyping import Shaped

from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_npy_header

_HEADER_BYTES = 128
"""What numpy writes for a vector, whatever its type and length: it leaves room for the longest."""
_HASHED_BYTES = 1 << 24
_HASHED_ASIDE = 1 << 18
"""So many bytes are hashed by a thread, while they are written and the next are made."""


class VectorRecord(TypedDict):
    """What is known of a vector's file, as it stands in JSON files.

    Attributes:
        file: its name.
        size: its bytes, header included.
        sha256: of its values, hexadecimal.
    """

    file: str
    size: int
    sha256: str


class VectorWriter:
    """A vector to be written; as a context manager it is finished at the end, or gone where that is not reached.

    Args:
        path: where it will be; its directory is made if missing. A file that is there is replaced at the end.
        dtype: of its values.

    Raises:
        SPDError: it cannot be written; so do all methods.
    """

    def __init__(self, path: Path, dtype: np.dtype | type[np.generic]) -> None:
        self.path = path
        self._dtype = np.dtype(dtype)
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)  # starts nothing before it has something to do
        self._hashing: Future[None] | None = None
        self.size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp.npy", dir=path.parent)
            self._temporary = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._file.write(bytes(_HEADER_BYTES))
        except OSError as error:
            raise self._refusal(error) from error

    def append(self, values: Shaped[np.ndarray, "n"]) -> None:
        """Values that fit the vector's type: they are not checked."""
        data = np.array(values, self._dtype, order="C").data  # a copy, since it may be hashed after the return
        self._wait()
        if data.nbytes < _HASHED_ASIDE:
            self._digest.update(data)
        else:
            self._hashing = self._thread.submit(self._digest.update, data)
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refusal(error) from error
        self.size += len(values)

    def _wait(self) -> None:
        """Until all that was appended is in the checksum."""
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None

    def finish(self) -> VectorRecord:
        """Give the file its name; nothing can be appended afterwards."""
        self._wait()
        self._thread.shutdown()
        try:
            self._file.seek(0)
            fields = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.size,)}
            np.lib.format.write_array_header_1_0(self._file, fields)
            assert self._file.tell() == _HEADER_BYTES, "numpy's header has another length"
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            umask = os.umask(0)
            os.umask(umask)
            self._temporary.chmod(0o666 & ~umask)
            self._temporary.replace(self.path)
        except OSError as error:
            raise self._refusal(error) from error
        size = _HEADER_BYTES + self.size * self._dtype.itemsize
        return {"file": self.path.name, "size": size, "sha256": self._digest.hexdigest()}

    def discard(self) -> None:
        """Remove what is not finished."""
        self._thread.shutdown()
        with contextlib.suppress(OSError):  # the disk is full: what is left in the buffer is of no use
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.discard()

    def _refusal(self, error: OSError) -> SPDError:
        return SPDError(f"{self.path}: cannot be written: {error.strerror or error}")


class VectorFile:
    """A vector in a .npy file of exactly this type and length.

    Args:
        path: of the file.
        dtype, length: what it must hold.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is truncated, or holds something else.
        SPDError: it cannot be read.
    """

    def __init__(self, path: Path, dtype: np.dtype | type[np.generic], length: int) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.length = length
        try:
            with path.open("rb") as file:
                shape, _, found = read_npy_header(file)
                self._start = file.tell()
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        except OSError as error:
            raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (ValueError, SyntaxError, TypeError, EOFError) as error:
            raise DamagedFileError(f"{path}: is damaged or truncated: {error}") from error
        if shape != (length,) or found != self.dtype:
            raise DamagedFileError(f"{path}: is {found} of shape {shape}, expected {length:,} values of {self.dtype}")
        expected = self._start + length * self.dtype.itemsize
        if size != expected:
            raise DamagedFileError(f"{path}: has {size:,} bytes, expected {expected:,}: it is truncated or damaged")

    def read(self, first: int, last: int) -> Shaped[np.ndarray, "n"]:
        """The values first .. last - 1, in memory.

        Raises:
            DamagedFileError: they are no longer there.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._start + first * self.dtype.itemsize)
                values = np.fromfile(file, self.dtype, last - first)
        except OSError as error:
            raise SPDError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if len(values) != last - first:
            raise DamagedFileError(f"{self.path}: ends before its value {last:,}: it was cut while it was read")
        return values

    def mapped(self) -> np.memmap | Shaped[np.ndarray, "n"]:
        """All values, read from the disk where they are looked at."""
        if not self.length:
            return np.zeros(0, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self._start, (self.length,))

    def sha256(self) -> str:
        """Of the values, hexadecimal."""
        digest = hashlib.sha256()
        step = _HASHED_BYTES // self.dtype.itemsize
        for first in range(0, self.length, step):
            digest.update(self.read(first, min(first + step, self.length)).data)
        return digest.hexdigest()
