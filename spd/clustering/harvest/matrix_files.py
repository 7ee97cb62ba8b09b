"""Activations of the user's own, samples x components, from a file; read in pieces, never held densely.

    .npy           memory-mapped
    .npz           one matrix, or the one named `activations`, read as a stream; or what scipy.sparse.save_npz writes;
                   or saved memberships (also the directory of a harvest that holds them)
    .safetensors   one matrix, or the one named `activations`, memory-mapped; bfloat16, too

Labels `<module>:<index>`, one a component, are optional: an array `labels` in the .npz file, or beside any file
`<name without ending>.labels.txt` with one label a line. Without them the components are `activations:0`, and so on.
"""

import json
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.builder import MembershipBuilder
from spd.clustering.memberships import Memberships
from spd.errors import ActivationsError, DamagedFileError, MissingFileError
from spd.files.checked import open_zip, read_npz, read_zip_array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

logger = logging.getLogger(__name__)

_BYTES_AT_ONCE = 1 << 26
_NAME = "activations"
_LABEL = re.compile(r".+:\d+")
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
class _Source:
    """A matrix in a file: its shape, the labels that the file itself holds, and its rows in pieces, to be read once."""

    shape: tuple[int, ...]
    labels: list[str] | None
    pieces: "Iterator[np.ndarray | csr_array]"


def read_activations(path: Path | str, config: ClusteringRunConfig) -> Memberships:
    """Threshold a file of activations, and take out dead components and modules, as the config says.

    Args:
        path: see above for the kinds of files.
        config: the first `batch_size` samples are used, all where there are fewer. Of merge_config:
            activation_threshold, filter_dead_threshold, module_name_filter. Saved memberships are taken as they are.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is truncated, holds objects, or is not of its kind.
        ActivationsError: it holds no such matrix, a negative or infinite value (naming the component), labels that do
            not fit, or no live component.
    """
    path = Path(path).expanduser()
    if (path / "memberships.npz").is_file():
        path = path / "memberships.npz"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of activations")
    if config.n_tokens_per_seq is not None:
        raise ActivationsError("n_tokens_per_seq is for sequences: a file of activations has one sample a row")
    if _holds_memberships(path):
        return Memberships.load(path)
    source = _open(path)
    if len(source.shape) != 2:
        raise ActivationsError(f"{path}: activations must be samples x components, got shape {source.shape}")
    if not source.shape[1]:
        raise ActivationsError(f"{path}: activations hold no component")
    labels = _labels(path, source)
    limit = min(config.batch_size, config.n_tokens or config.batch_size)
    logger.info("%s: %d of %d samples, %d components", path, min(limit, source.shape[0]), *source.shape)
    merge = config.merge_config
    builder = MembershipBuilder(merge.activation_threshold, merge.filter_dead_threshold, config.filter_dead_stat)
    try:
        for piece in source.pieces:
            if piece.dtype.kind not in "biuf":
                raise ActivationsError(f"activations must be numbers or booleans, got {piece.dtype}")
            builder.add_matrix(piece[: limit - builder.n_samples], labels)
            if builder.n_samples == limit:
                break
        return builder.finish(merge.module_name_filter)
    except ActivationsError as error:
        raise ActivationsError(f"{path}: {error}") from error


def _open(path: Path) -> _Source:
    if path.suffix == ".npy":
        return _open_npy(path)
    if path.suffix == ".npz":
        return _open_npz(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    raise ActivationsError(f"{path}: activations are read from .npy, .npz and .safetensors files, not {path.suffix!r}")


def _rows_at_once(shape: tuple[int, ...], itemsize: int) -> int:
    return max(1, _BYTES_AT_ONCE // max(1, shape[-1] * itemsize))


def _open_npy(path: Path) -> _Source:
    def mapped() -> np.ndarray:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DamagedFileError(f"{path}: cannot be read as a .npy array: {' '.join(str(error).split())}") from error

    def pieces() -> Iterator[np.ndarray]:
        step = _rows_at_once(shape, dtype.itemsize)
        for start in range(0, shape[0], step):
            # Mapped anew each time, so that pages already read do not pile up.
            yield np.array(mapped()[start : start + step])

    first = mapped()
    shape, dtype = first.shape, first.dtype
    return _Source(shape, None, pieces())


def _holds_memberships(path: Path) -> bool:
    if path.suffix != ".npz":
        return False
    with open_zip(path) as archive:
        return {"indptr.npy", "indices.npy", "labels.npy", "dead_labels.npy"} <= set(archive.namelist())


def _open_npz(path: Path) -> _Source:
    with open_zip(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        labels = read_zip_array(archive, path, "labels.npy").tolist() if "labels" in names else None
    if "format" in names and "shape" in names:
        matrix = _read_scipy(path)
        step = _rows_at_once(matrix.shape, 4)
        return _Source(
            matrix.shape, labels, (matrix[start : start + step] for start in range(0, matrix.shape[0], step))
        )
    name = _pick(path, sorted(names - {"labels"}))
    with open_zip(path) as archive, archive.open(f"{name}.npy") as member:
        shape, is_fortran, _ = _read_header(path, member)
    if is_fortran:
        return _Source(shape, labels, iter([read_npz(path, [name])[name]]))
    return _Source(shape, labels, _stream_member(path, f"{name}.npy"))


def _read_header(path: Path, member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        header = readers[np.lib.format.read_magic(member)](member)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{path}: holds no readable .npy array: {error}") from error
    if header[2].hasobject:
        raise DamagedFileError(f"{path}: holds pickled objects, which are not read")
    return header


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
            except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
                raise DamagedFileError(f"{path}: its member {name!r} is damaged: {error}") from error
            if len(content) != wanted:
                raise DamagedFileError(f"{path}: its member {name!r} is truncated: {shape} numbers were announced")
            yield np.frombuffer(content, dtype).reshape(n_rows, shape[1])


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


def _open_safetensors(path: Path) -> _Source:
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
    return _Source(shape, None, _map_tensor(path, 8 + length + begin, dtype, shape, kind == "BF16"))


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
    if _NAME in names:
        return _NAME
    if len(names) != 1:
        raise ActivationsError(f"{path}: expected one array, or one named {_NAME!r}, found {names or 'none'}")
    return names[0]


def _labels(path: Path, source: _Source) -> list[str]:
    n_components = source.shape[1]
    beside = path.with_suffix(".labels.txt")
    labels, where = source.labels, path
    if beside.is_file():
        labels, where = beside.read_text(encoding="utf-8", errors="replace").splitlines(), beside
    if labels is None:
        return [f"{_NAME}:{index}" for index in range(n_components)]
    labels = [str(label) for label in labels]
    if len(labels) != n_components:
        raise ActivationsError(f"{where}: {len(labels)} labels for {n_components} components")
    wrong = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if wrong is not None:
        raise ActivationsError(f"{where}: a label is <module>:<index>, got {wrong!r}")
    return labels
