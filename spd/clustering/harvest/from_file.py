"""Memberships from activations of the user's own, samples x components, in a file; read in pieces, never held densely.

The kinds of files: see matrix_files; saved memberships, or the directory of a harvest that holds them, work, too.

Labels `<module>:<index>`, one a component, are optional: an array `labels` in the .npz file, or beside any file
`<name without ending>.labels.txt` with one label a line. Without them the components are `activations:0`, and so on.
"""

import codecs
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.builder import MembershipBuilder
from spd.clustering.harvest.matrix_files import MATRIX_NAME, MatrixFile, open_matrix
from spd.clustering.labels import is_label
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import INDEX
from spd.errors import ActivationsError, MissingFileError, SPDError
from spd.files.checked import open_zip, read_npy_header

logger = logging.getLogger(__name__)


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
    path = activations_file(Path(path))
    if config.n_tokens_per_seq is not None:
        raise ActivationsError("n_tokens_per_seq is for sequences: a file of activations has one sample a row")
    if _holds_memberships(path):
        return Memberships.load(path)
    return _threshold_matrix(path, open_matrix(path), config)


def activations_file(path: Path) -> Path:
    """The file that a path means: itself, or the memberships in a directory; a directory that is memberships.

    Raises:
        MissingFileError: there is none.
    """
    path = path.expanduser()
    if (path / "memberships.npz").is_file():
        return path / "memberships.npz"
    for directory in (path, path / "memberships"):
        if (directory / INDEX).is_file():
            return directory
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of activations")
    return path


def _holds_memberships(path: Path) -> bool:
    if path.is_dir():
        return True
    if path.suffix != ".npz":
        return False
    with open_zip(path) as archive:
        return {"indptr.npy", "indices.npy", "labels.npy", "dead_labels.npy"} <= set(archive.namelist())


def _threshold_matrix(path: Path, matrix: MatrixFile, config: ClusteringRunConfig) -> Memberships:
    if len(matrix.shape) != 2:
        raise ActivationsError(f"{path}: activations must be samples x components, got shape {matrix.shape}")
    n_samples, n_components = matrix.shape
    merge = config.merge_config
    if not n_components:
        raise ActivationsError(f"{path}: activations hold no component")
    if merge.unknown:
        lacking = ", ".join(sorted(merge.unknown))
        raise ActivationsError(f"{path}: a matrix cannot be read without {lacking}, which the config leaves unknown")
    labels = _labels(path, matrix)
    limit = min(config.batch_size, config.n_tokens or config.batch_size)
    logger.info("%s: %d of %d samples, %d components", path, min(limit, n_samples), n_samples, n_components)
    builder = MembershipBuilder(merge.activation_threshold, merge.filter_dead_threshold, config.filter_dead_stat)
    try:
        for piece in matrix.pieces:
            if piece.dtype.kind not in "biuf":
                raise ActivationsError(f"activations must be numbers or booleans, got {piece.dtype}")
            builder.add_matrix(piece[: limit - builder.n_samples], labels)
            if builder.n_samples == limit:
                break
        return builder.finish(merge.module_name_filter)
    except ActivationsError as error:
        raise ActivationsError(f"{path}: {error}") from error


def count_samples(path: Path) -> int | None:
    """How many samples a file of activations holds, by its header alone; None where it does not say.

    Raises:
        MissingFileError, DamagedFileError, ActivationsError: see read_activations.
    """
    path = activations_file(path)
    if path.is_dir():
        return Memberships.open(path).n_samples
    if _holds_memberships(path):
        with open_zip(path) as archive, archive.open("indptr.npy") as member:
            return read_npy_header(member)[0][0] - 1
    shape = open_matrix(path).shape
    return shape[0] if len(shape) == 2 else None


def label_file(path: Path) -> Path:
    """Where labels of a file of activations may lie beside it."""
    return path.with_suffix(".labels.txt")


def _labels(path: Path, matrix: MatrixFile) -> list[str]:
    n_components = matrix.shape[1]
    labels: Sequence[str] | None = matrix.labels
    where = path
    if label_file(path).is_file():
        where = label_file(path)
        labels = _read_lines(where)
    if labels is None:
        return [f"{MATRIX_NAME}:{index}" for index in range(n_components)]
    labels = [str(label).removeprefix("\ufeff") for label in labels]
    if len(labels) != n_components:
        raise ActivationsError(f"{where}: {len(labels)} labels for {n_components} components")
    for number, label in enumerate(labels, 1):
        if not is_label(label) or not label.isprintable():
            raise ActivationsError(
                f"{where}: a label is <module>:<index> in printable characters, got {label!r} in line {number}"
            )
    return labels


def _read_lines(path: Path) -> list[str]:
    """The lines of a text in UTF-8, with or without a byte order mark; empty ones at the end are left out.

    Raises:
        ActivationsError: a line is in another encoding.
        SPDError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n"))
    for number, line in enumerate(lines, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ActivationsError(
                f"{path}: line {number} is not in UTF-8 (byte {line[error.start]:#04x}): save the file as UTF-8"
            ) from error
    return [line.decode("utf-8") for line in lines]
