"""Harvests of goodfire-ai/param-decomp, by its published file formats.

    memberships.npz       samples x live components: what scipy.sparse.save_npz writes of a csc matrix, uint8, all ones
    metadata.json         labels in the order of the columns, dead components, sizes; older ones: n_samples,
                          n_components, labels
    harvest_config.json   model, data and thresholds; older ones have none: what it would say is unknown then

A `preview.pt` beside them is for plots, and is never opened. Columns stay in the order in which they are written, which
is not that of our own harvests: labels say which is which.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.labels import is_label, module_of
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MEMBERSHIP_SETTINGS
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, DamagedFileError
from spd.files.checked import open_zip, read_json, read_npz

logger = logging.getLogger(__name__)

_MEMBERS = ("format", "shape", "indptr", "indices", "data")


def is_param_decomp(paths: HarvestPaths) -> bool:
    """Whether the memberships are of this kind; ours have the same name and other members.

    Raises:
        MissingFileError, DamagedFileError: they cannot be opened.
    """
    if paths.memberships.is_dir():
        return False
    with open_zip(paths.memberships) as archive:
        return "format.npy" in archive.namelist()


@dataclass(frozen=True)
class Metadata:
    """What metadata.json tells.

    Attributes:
        n_samples: rows of the matrix.
        labels: one a column.
        dead_labels: components that were taken out; None: older files do not tell.
    """

    n_samples: int
    labels: list[str]
    dead_labels: list[str] | None


def read_metadata(path: Path) -> Metadata:
    """Read and check metadata.json.

    Raises:
        MissingFileError, DamagedFileError: it cannot be read, or contradicts itself; names the file and the key.
    """
    content = read_json(path, required=["n_samples", "labels"])
    n_samples = content["n_samples"]
    if not isinstance(n_samples, int) or isinstance(n_samples, bool) or n_samples < 1:
        raise DamagedFileError(f"{path}: 'n_samples' must be a number above 0, got {n_samples!r}")
    labels = _labels(path, "labels", content["labels"])
    is_older = "dead_components_lst" not in content
    dead = None if is_older else _labels(path, "dead_components_lst", content["dead_components_lst"] or [])
    both = set(labels) & set(dead or [])
    if both:
        raise DamagedFileError(f"{path}: {min(both)!r} is in 'labels' and in 'dead_components_lst'")
    if content.get("n_components", len(labels)) != len(labels):
        raise DamagedFileError(f"{path}: 'n_components' is {content['n_components']!r}, there are {len(labels)} labels")
    _check_counts(path, "module_alive_counts", content, labels)
    if dead is not None:
        _check_counts(path, "module_component_counts", content, labels + dead)
    return Metadata(n_samples, labels, dead)


def _labels(path: Path, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(label, str) and is_label(label) for label in value):
        raise DamagedFileError(f"{path}: {key!r} must be a list of labels <module>:<index>")
    if len(set(value)) != len(value):
        raise DamagedFileError(f"{path}: {key!r} has a label twice")
    return value


def _check_counts(path: Path, key: str, content: Mapping[str, Any], labels: list[str]) -> None:
    """A count for each module fits the labels; a module without any may be left out."""
    told = content.get(key)
    if told is None:
        return
    if not isinstance(told, dict):
        raise DamagedFileError(f"{path}: {key!r} must be a mapping of modules to numbers")
    found = dict.fromkeys(told, 0)
    for label in labels:
        found[module_of(label)] = found.get(module_of(label), 0) + 1
    wrong = next((module for module, count in found.items() if told.get(module, 0) != count), None)
    if wrong is not None:
        raise DamagedFileError(
            f"{path}: {key!r} has {told.get(wrong, 0)!r} for module {wrong!r}, by the labels it is {found[wrong]}"
        )


def read_memberships(paths: HarvestPaths, metadata: Metadata) -> Memberships:
    """All samples.

    Raises:
        DamagedFileError: the file is truncated, is no such matrix, or not of the size that metadata.json tells; names
            the file and the member.
    """
    path = paths.memberships
    members = read_npz(path, _MEMBERS)
    problem = _find_problem(members, metadata)
    if problem is not None:
        name, what = problem
        raise DamagedFileError(f"{path}: its member {name!r} {what}")
    from scipy.sparse import csc_array

    shape = (metadata.n_samples, len(metadata.labels))
    rows = csc_array((members["data"], members["indices"], members["indptr"]), shape=shape).tocsr()
    if not rows.has_canonical_format:
        raise DamagedFileError(f"{path}: its member 'indices' has an entry twice")
    dead = metadata.dead_labels or []
    return Memberships(
        rows.indptr.astype(np.int64), rows.indices.astype(np.int32, copy=False), None, metadata.labels, dead
    )


def _find_problem(members: Mapping[str, np.ndarray], metadata: Metadata) -> tuple[str, str] | None:
    """The member that keeps these arrays from being what metadata.json tells, and why."""
    kind, shape, indptr, indices, data = (members[name] for name in _MEMBERS)
    n_samples, n_components = metadata.n_samples, len(metadata.labels)
    if kind.dtype.kind not in "SU" or kind.ndim or str(kind.astype(str)) != "csc":
        return "format", "is not 'csc'"
    if shape.dtype.kind not in "iu" or shape.tolist() != [n_samples, n_components]:
        expected = f"({n_samples}, {n_components}), the samples and labels of metadata.json"
        return "shape", f"is {shape.tolist()}, expected {expected}"
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            return name, f"is {array.dtype} of shape {array.shape}, expected a vector of integers"
    if len(indptr) != n_components + 1:
        return "indptr", f"has {len(indptr)} entries, expected {n_components + 1}"
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr.astype(np.int64)) < 0).any():
        return "indptr", f"must rise from 0 to the number of entries, {len(indices)}"
    if len(indices) and not 0 <= indices.min() <= indices.max() < n_samples:
        return "indices", f"must lie in 0 .. {n_samples - 1}, got {indices.min()} .. {indices.max()}"
    if data.shape != indices.shape or data.dtype.kind not in "bu" or not (data == 1).all():
        return "data", f"must be a one for each of {len(indices)} entries"
    return None


def read_config(paths: HarvestPaths, metadata: Metadata) -> ClusteringRunConfig:
    """The config of a run on this harvest: its directory as the activations, its thresholds, and its model's name.
    What the harvest does not tell is unknown in it (see MergeConfig), the merge's own settings are the defaults, and
    dataset_seed is that of a bootstrap: which data were harvested is in harvest_config.json alone.

    Raises:
        ConfigError, DamagedFileError: harvest_config.json cannot be used; names the file and the key.
    """
    told: dict[str, Any] = read_json(paths.config) if paths.config.exists() else {}
    settings = {name: told[name] for name in MEMBERSHIP_SETTINGS if name in told}
    unknown = [name for name in MEMBERSHIP_SETTINGS if name not in told]
    if unknown:
        logger.warning(
            "the harvest %s does not tell its %s: they stay unknown", paths.directory, ", ".join(map(repr, unknown))
        )
    if settings.get("activation_threshold", 0.0) is None:
        raise ConfigError(f"{paths.config}: activation_threshold: must be a number (got null)")
    content: dict[str, Any] = {
        "activations_path": str(paths.directory),
        "harvest_model_path": told.get("model_path"),
        "batch_size": metadata.n_samples,
    }
    if "filter_dead_stat" in settings:
        content["filter_dead_stat"] = settings.pop("filter_dead_stat")
    content["merge_config"] = {**settings, "unknown": unknown}
    return ClusteringRunConfig.from_mapping(content, str(paths.config))
