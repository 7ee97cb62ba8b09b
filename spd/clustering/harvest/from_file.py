"""Memberships from activations of the user's own, samples x components, in a file; read in pieces, never held densely.

The kinds of files: see matrix_files; saved memberships, or the directory of a harvest that holds them, work, too.

Labels `<module>:<index>`, one a component, are optional: an array `labels` in the .npz file, or beside any file
`<name without ending>.labels.txt` with one label a line. Without them the components are `activations:0`, and so on.
"""

import logging
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.builder import MembershipBuilder
from spd.clustering.harvest.matrix_files import MATRIX_NAME, MatrixFile, open_matrix
from spd.clustering.labels import is_label
from spd.clustering.memberships import Memberships
from spd.errors import ActivationsError, MissingFileError
from spd.files.checked import open_zip

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
    path = Path(path).expanduser()
    if (path / "memberships.npz").is_file():
        path = path / "memberships.npz"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of activations")
    if config.n_tokens_per_seq is not None:
        raise ActivationsError("n_tokens_per_seq is for sequences: a file of activations has one sample a row")
    if _holds_memberships(path):
        return Memberships.load(path)
    return _threshold_matrix(path, open_matrix(path), config)


def _holds_memberships(path: Path) -> bool:
    if path.suffix != ".npz":
        return False
    with open_zip(path) as archive:
        return {"indptr.npy", "indices.npy", "labels.npy", "dead_labels.npy"} <= set(archive.namelist())


def _threshold_matrix(path: Path, matrix: MatrixFile, config: ClusteringRunConfig) -> Memberships:
    if len(matrix.shape) != 2:
        raise ActivationsError(f"{path}: activations must be samples x components, got shape {matrix.shape}")
    n_samples, n_components = matrix.shape
    if not n_components:
        raise ActivationsError(f"{path}: activations hold no component")
    labels = _labels(path, matrix)
    limit = min(config.batch_size, config.n_tokens or config.batch_size)
    logger.info("%s: %d of %d samples, %d components", path, min(limit, n_samples), n_samples, n_components)
    merge = config.merge_config
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


def _labels(path: Path, matrix: MatrixFile) -> list[str]:
    n_components = matrix.shape[1]
    beside = path.with_suffix(".labels.txt")
    labels, where = matrix.labels, path
    if beside.is_file():
        labels, where = beside.read_text(encoding="utf-8", errors="replace").splitlines(), beside
    if labels is None:
        return [f"{MATRIX_NAME}:{index}" for index in range(n_components)]
    labels = [str(label) for label in labels]
    if len(labels) != n_components:
        raise ActivationsError(f"{where}: {len(labels)} labels for {n_components} components")
    wrong = next((label for label in labels if not is_label(label)), None)
    if wrong is not None:
        raise ActivationsError(f"{where}: a label is <module>:<index>, got {wrong!r}")
    return labels
