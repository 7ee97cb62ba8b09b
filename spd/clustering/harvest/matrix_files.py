"""Readers of matrices of samples x components: .npy, .npz and .safetensors, in pieces, never held densely.

    .npy           memory-mapped
    .npz           one matrix, or the one named `activations`, read as a stream; or what scipy.sparse.save_npz writes
    .safetensors   one matrix, or the one named `activations`, memory-mapped; bfloat16, too

Nothing is unpickled, and what a file's header claims is checked before it is believed.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from spd.errors import ActivationsError, DamagedFileError, one_line
from spd.files.checked import open_zip, read_npy_header, read_npz, read_zip_array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MATRIX_NAME = "activations"
"""The array that is taken where a file holds several."""

_BYTES_AT_ONCE = 1 << 26
_HEADER_LIMIT = 100 << 20
_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


@dataclass(frozen=True)
class MatrixFile:
    """A matrix in a file, of which only the header is read yet.

    Attributes:
        shape: of the array, which need not be two-dimensional.
        labels: those that the file itself holds.
        pieces: its rows in order, to be read once.
    """

    shape: tuple[int, ...]
    labels: list[str] | None
    pieces: "Iterator[np.ndarray | csr_array]"


def open_matrix(path: Path) -> MatrixFile:
    """A file of one of the kinds above, by its ending.

    Raises:
        DamagedFileError: it is truncated, holds objects, or is not of its kind; also while pieces are read.
        ActivationsError: another ending, or several arrays of which none is named `activations`.
    """
    if path.suffix == ".npy":
        return _open_npy(path)
    if path.suffix == ".npz":
        return _open_npz(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    raise ActivationsError(f"{path}: activations are read from .npy, .npz and .safetensors files, not {path.suffix!r}")


def _rows_at_once(shape: tuple[int, ...], itemsize: int) -> int:
    return max(1, _BYTES_AT_ONCE // max(1, shape[-1] * itemsize))


def _open_npy(path: Path) -> MatrixFile:
    def mapped() -> np.ndarray:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DamagedFileError(f"{path}: cannot be read as a .npy array: {one_line(error)}") from error

    def pieces() -> Iterator[np.ndarray]:
        step = _rows_at_once(shape, dtype.itemsize)
        for start in range(0, shape[0], step):
            # Mapped again each time, so that pages already read do not pile up.
            yield np.array(mapped()[start : start + step])

    first = mapped()
    shape, dtype = first.shape, first.dtype
    return MatrixFile(shape, None, pieces())


def _open_npz(path: Path) -> MatrixFile:
    with open_zip(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        labels = read_zip_array(archive, path, "labels.npy").tolist() if "labels" in names else None
    if "format" in names and "shape" in names:
        sizes = read_npz(path, ["shape"])["shape"]
        if sizes.dtype.kind not in "iu" or sizes.shape != (2,) or (sizes < 0).any():
            raise DamagedFileError(f"{path}: holds no sparse matrix that can be read: its 'shape' is {sizes.tolist()}")
        return MatrixFile(tuple(sizes.tolist()), labels, _sparse_pieces(path))
    name = _pick(path, sorted(names - {"labels"}))
    with open_zip(path) as archive, archive.open(f"{name}.npy") as member:
        shape, is_fortran, _ = _read_header(path, member)
    if is_fortran:
        return MatrixFile(shape, labels, iter([read_npz(path, [name])[name]]))
    return MatrixFile(shape, labels, _stream_member(path, f"{name}.npy"))


def _read_header(path: Path, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        return read_npy_header(member)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedFileError(f"{path}: holds no readable .npy array: {one_line(error)}") from error


def _stream_member(path: Path, name: str) -> Iterator[np.ndarray]:
    with open_zip(path) as archive, archive.open(name) as member:
        shape, _, dtype = _read_header(path, member)
        if len(shape) != 2:
            return
        step = _rows_at_once(shape, dtype.itemsize)
        for start in range(0, shape[0], step):
            n_rows = min(step, shape[0] - start)
            wanted = n_rows * shape[1] * dtype.itemsize
            try:
                content = member.read(wanted)
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
                raise DamagedFileError(f"{path}: its member {name!r} is damaged: {error}") from error
            if len(content) != wanted:
                raise DamagedFileError(f"{path}: its member {name!r} is truncated: {shape} numbers were announced")
            yield np.frombuffer(content, dtype).reshape(n_rows, shape[1])


def _sparse_pieces(path: Path) -> "Iterator[csr_array]":
    matrix = _read_scipy(path)
    step = _rows_at_once(matrix.shape, 4)
    for start in range(0, matrix.shape[0], step):
        yield matrix[start : start + step]


def _read_scipy(path: Path) -> "csr_array":
    from scipy import sparse

    members = read_npz(path)
    kind = str(members["format"].astype(str))
    try:
        shape = tuple(int(size) for size in members["shape"])
        if kind in ("csr", "csc"):
            build = sparse.csr_array if kind == "csr" else sparse.csc_array
            matrix = build((members["data"], members["indices"], members["indptr"]), shape=shape)
            matrix.check_format(full_check=True)
        elif kind == "coo":
            matrix = sparse.coo_array((members["data"], (members["row"], members["col"])), shape=shape)
        else:
            raise ValueError(f"its sparse format is {kind!r}; csr, csc and coo are read")
        return matrix.tocsr()
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path}: holds no sparse matrix that can be read: {error}") from error


def _open_safetensors(path: Path) -> MatrixFile:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(_HEADER_LIMIT, path.stat().st_size - 8):
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        name = _pick(path, sorted(header))
        kind, shape, (begin, end) = (header[name][key] for key in ("dtype", "shape", "data_offsets"))
        dtype, shape = np.dtype(_SAFETENSORS_TYPES[kind]), tuple(int(size) for size in shape)
        if end - begin != int(np.prod(shape, dtype=object)) * dtype.itemsize or begin < 0:
            raise ValueError(f"tensor {name!r} of shape {shape} does not fill its {end - begin} bytes")
        if 8 + length + end > path.stat().st_size:
            raise ValueError("it is truncated")
    except ActivationsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DamagedFileError(f"{path}: cannot be read as a .safetensors file: {error}") from error
    return MatrixFile(shape, None, _map_tensor(path, 8 + length + begin, dtype, shape, kind == "BF16"))


def _map_tensor(
    path: Path, offset: int, dtype: np.dtype, shape: tuple[int, ...], is_bfloat: bool
) -> Iterator[np.ndarray]:
    if len(shape) != 2:
        return
    step = _rows_at_once(shape, dtype.itemsize)
    for start in range(0, shape[0], step):
        n_rows = min(step, shape[0] - start)
        at = offset + start * shape[1] * dtype.itemsize
        piece = np.array(np.memmap(path, dtype, "r", offset=at, shape=(n_rows, shape[1])))
        # A bfloat16 is the upper half of a float32.
        yield (piece.astype(np.uint32) << 16).view(np.float32) if is_bfloat else piece


def _pick(path: Path, names: list[str]) -> str:
    """The array to read: `activations`, or the only one."""
    if MATRIX_NAME in names:
        return MATRIX_NAME
    if len(names) != 1:
        raise ActivationsError(f"{path}: expected one array, or one named {MATRIX_NAME!r}, found {names or 'none'}")
    return names[0]
