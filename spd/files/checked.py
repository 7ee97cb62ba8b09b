"""Files that are written whole or not at all, and checked before they are believed.

No pickle is ever loaded, and no member of a zip file is unpacked that is larger than it can be. Every error is one
sentence that names the file.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from spd.errors import DamagedFileError, MissingFileError, SPDError, one_line
from spd.files.atomic import atomic_write

MAX_MEMBER_BYTES = 16 * 2**30
"""No array that these files hold is larger."""
MAX_JSON_BYTES = 512 * 2**20
_MAX_DEFLATE_RATIO = 1100
"""Deflate cannot shrink by more than 1032; a member that claims more lies."""


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all.

    Raises:
        SPDError: the file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True) -> None:
    """Write whole or not at all; arrays of plain numbers, booleans or text only, which need no pickle to be read.

    Raises:
        SPDError: the file cannot be written.
    """
    assert not any(array.dtype.hasobject for array in arrays.values()), "an array of objects would be pickled"
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        save(file, **arrays)


def read_json(path: Path, *, required: Collection[str] = ()) -> dict[str, Any]:
    """A file that holds one mapping, with at least the keys in `required`.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is empty, truncated, too large, no mapping, or lacks a key.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DamagedFileError(f"{path}: is larger than {MAX_JSON_BYTES >> 20} MB, no such file is")
        text = path.read_text(encoding="utf-8").removeprefix("\ufeff")  # a mark that some editors write
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path}: is damaged: no UTF-8 text") from error
    except OSError as error:
        raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DamagedFileError(f"{path}: is empty")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path}: is damaged or truncated: {error}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path}: expected a mapping of keys to values, got {type(content).__name__}")
    lacking = [key for key in required if key not in content]
    if lacking:
        raise DamagedFileError(f"{path}: lacks {', '.join(map(repr, lacking))}")
    return content


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip file whose directory can be read and names no member twice; to be closed by the caller.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is empty, truncated, or no zip file.
    """
    try:
        if path.stat().st_size == 0:
            raise DamagedFileError(f"{path}: is empty")
        opened = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, SPDError):
            raise
        raise DamagedFileError(f"{path}: is damaged or truncated: {error}") from error
    names = opened.namelist()
    if len(set(names)) != len(names):
        opened.close()
        raise DamagedFileError(f"{path}: holds a member twice")
    return opened


def read_zip_bytes(archive: zipfile.ZipFile, path: Path, name: str, *, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """A member's content, no larger than `max_bytes`.

    Raises:
        DamagedFileError: it is missing, too large or damaged; names the file and the member.
    """
    with _open_member(archive, path, name, max_bytes) as member, _damage(path, name):
        return member.read()


def read_zip_array(archive: zipfile.ZipFile, path: Path, name: str, *, max_bytes: int = MAX_MEMBER_BYTES) -> np.ndarray:
    """An array in .npy format; `name` is the member's name with its ending. No pickle is loaded.

    Raises:
        DamagedFileError: it is missing, too large, damaged, holds objects, or is not of the size that it claims.
    """
    with _open_member(archive, path, name, max_bytes) as member, _damage(path, name):
        _check_array_header(member, archive.getinfo(name).file_size)
    with _open_member(archive, path, name, max_bytes) as member, _damage(path, name):
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError("goes on after its array")
        return array


def read_npz(
    path: Path, names: Collection[str] | None = None, *, max_bytes: int = MAX_MEMBER_BYTES
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file: those in `names`, all of which it must have, or every one. No pickle is loaded.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is truncated, empty, manipulated, or lacks an array; names the file.
    """
    with open_zip(path) as archive:
        found = [name.removesuffix(".npy") for name in archive.namelist()]
        wanted = found if names is None else list(names)
        lacking = [name for name in wanted if name not in found]
        if lacking:
            raise DamagedFileError(f"{path}: lacks {', '.join(map(repr, lacking))}")
        return {name: read_zip_array(archive, path, f"{name}.npy", max_bytes=max_bytes) for name in wanted}


def _open_member(archive: zipfile.ZipFile, path: Path, name: str, max_bytes: int) -> IO[bytes]:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise DamagedFileError(f"{path}: lacks {name!r}") from error
    if info.file_size > max_bytes:
        raise DamagedFileError(
            f"{path}: its member {name!r} claims {info.file_size:,} bytes, at most {max_bytes:,} are read"
        )
    if info.file_size > _MAX_DEFLATE_RATIO * info.compress_size + 1024:
        raise DamagedFileError(
            f"{path}: its member {name!r} claims {info.file_size:,} bytes in {info.compress_size:,} compressed ones"
        )
    with _damage(path, name):
        return archive.open(info)


class _damage:
    """Whatever numpy and zipfile raise on a damaged member, as one sentence that names the file."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        causes = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError, TypeError)
        if isinstance(error, causes) and not isinstance(error, SPDError):
            raise DamagedFileError(f"{self.path}: its member {self.name!r} is damaged: {one_line(error)}") from error


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first (Fortran order), and type of an array in .npy format; `file` then stands at
    its first value.

    Raises:
        ValueError: it is no such array, or not one of plain numbers, booleans or text.
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"is of the .npy version {version}, known are 1.0 and 2.0")
    shape, is_fortran, dtype = readers[version](file)
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise ValueError(f"holds values of the type {dtype}, expected numbers or text; pickled objects are not read")
    if any(size < 0 for size in shape):
        raise ValueError(f"its array has the shape {shape}")
    return shape, is_fortran, dtype


def _check_array_header(member: IO[bytes], member_size: int) -> None:
    """A plain array of exactly the member's size.

    Raises:
        ValueError: it holds objects or claims another size.
    """
    shape, _, dtype = read_npy_header(member)
    claimed = int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
    if claimed != member_size - member.tell():
        raise ValueError(
            f"its array of shape {shape} needs {claimed:,} bytes, there are {member_size - member.tell():,}"
        )
