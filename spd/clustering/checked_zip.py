"""Reading zip files that may be damaged or manipulated: nothing is unpickled, nothing is allocated on a header's word.

1. A member is read only as far as its stated size, and its stated size has a limit.
2. An array's header must state a plain number type and the expected shape, and shape and type must account for the
   member's size to the byte, before memory for it is taken.
3. Whatever goes wrong becomes one DamagedFileError that names the file and the member.
"""

import contextlib
import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from spd.clustering.errors import DamagedFileError, MissingFileError

MEMBER_LIMIT = 2**30
"""Bytes of a member that is read as a whole."""

_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


class CheckedZip:
    """A zip file, open for reading.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no zip file, or its end is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        except (*_READ_ERRORS, ValueError, IndexError) as error:
            raise DamagedFileError(f"{path}: is damaged, or no zip file: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._archive.close()

    def __contains__(self, member: str) -> bool:
        return member in self._archive.NameToInfo

    def damaged(self, member: str, problem: str) -> DamagedFileError:
        """The error to raise for a member."""
        return DamagedFileError(f"{self._path}: {member} {problem}")

    def text(self, member: str) -> str:
        """The member as UTF-8 text."""
        with self._open(member, MEMBER_LIMIT) as stream:
            content = stream.read()
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.damaged(member, f"is not UTF-8 text: {error}") from error

    def json(self, member: str) -> dict[str, Any]:
        """The member as a JSON object."""
        try:
            content = json.loads(self.text(member))
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.damaged(member, f"is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise self.damaged(member, f"holds a {type(content).__name__}, expected a JSON object")
        return content

    def array(self, member: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """The member as an array whose dtype.kind is in `kinds`; a None in `shape` allows any length."""
        with self.open_array(member, kinds, shape, MEMBER_LIMIT) as (stream, dtype, found):
            return np.frombuffer(stream.read(), dtype).reshape(found)

    @contextlib.contextmanager
    def open_array(
        self, member: str, kinds: str, shape: tuple[int | None, ...], limit: int | None = None
    ) -> Iterator[tuple[IO[bytes], np.dtype, tuple[int, ...]]]:
        """A stream placed at the first number of a C-ordered .npy member, with its dtype and shape, both checked."""
        with self._open(member, limit) as stream:
            dtype, found, is_fortran = self._header(member, stream)
            if dtype.hasobject or dtype.kind not in kinds:
                raise self.damaged(member, f"holds {dtype}, expected numbers of kind {kinds!r}")
            fits = len(found) == len(shape) and all(want in (None, got) for want, got in zip(shape, found, strict=True))
            if not fits:
                wanted = tuple("any" if length is None else length for length in shape)
                raise self.damaged(member, f"has shape {found}, expected {wanted}".replace("'", ""))
            if is_fortran and len(found) > 1:
                raise self.damaged(member, "is stored column by column, expected row by row")
            n_items = 1
            for length in found:
                n_items *= length
            stated = self._archive.getinfo(member).file_size
            if stream.tell() + n_items * dtype.itemsize != stated:
                raise self.damaged(
                    member, f"claims {found} numbers of {dtype}, which its {stated} bytes do not hold exactly"
                )
            yield stream, dtype, found

    def _header(self, member: str, stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], bool]:
        try:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise ValueError(f"version {version} of .npy is not known")
        except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
            raise self.damaged(member, f"is no .npy array: {error}") from error
        return dtype, shape, is_fortran

    @contextlib.contextmanager
    def _open(self, member: str, limit: int | None) -> Iterator[IO[bytes]]:
        if member not in self:
            raise self.damaged(member, "is missing")
        size = self._archive.getinfo(member).file_size
        if limit is not None and size > limit:
            raise self.damaged(member, f"claims {size} bytes, more than the {limit} that are allowed")
        try:
            with self._archive.open(member) as stream:
                yield stream
        except _READ_ERRORS as error:
            raise self.damaged(member, f"cannot be read: {error}") from error
