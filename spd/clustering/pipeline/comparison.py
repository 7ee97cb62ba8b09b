"""What an ensemble's members say together: merge array, metadata, distances.

Only finished members count. With `require_all` every registered member must be finished, otherwise two are enough;
the metadata and the log say who is missing.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spd.clustering.consts import checked_method
from spd.clustering.ensemble_registry import RegisteredMember, get_members
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.clustering.pipeline.foreign import ForeignEnsemble, check_replaceable, output_of
from spd.clustering.pipeline.provenance import (
    Fingerprints,
    Manifest,
    fingerprints_of,
    has_manifest,
    read_manifest,
)
from spd.clustering.pipeline.run_state import is_finished, working_on
from spd.clustering.plotting.figures import save_distance_figure
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import EnsemblePaths
from spd.errors import DamagedFileError, MemberFailedError, MissingFileError, SPDError
from spd.files.checked import read_npz, write_json, write_npz
from spd.files.fingerprint import fingerprint

logger = logging.getLogger(__name__)

MIN_MEMBERS = 2

ProductState = Literal["current", "stale", "unknown"]
"""Of files that are derived from the members' histories."""

MERGE_ARRAY = "merge_array"
SECONDS_TO_COLLECT = 3600.0
"""Distance jobs start together, and each finds that the merge array is missing: one of them writes it."""


def registered_members(paths: EnsemblePaths) -> list[RegisteredMember]:
    """All members, by index; of a ForeignEnsemble those that its own ensemble_meta.json names.

    Raises:
        MissingFileError: the ensemble is not registered, or names no members.
    """
    if isinstance(paths, ForeignEnsemble):
        return paths.members
    members = get_members(paths.ensemble_id, path=paths.registry)
    if not members:
        raise MissingFileError(f"the ensemble {paths.ensemble_id} is not registered in {paths.registry}")
    return members


def finished_members(paths: EnsemblePaths) -> list[RegisteredMember]:
    """Those on which nothing is left to do."""
    return [member for member in registered_members(paths) if is_finished(paths.run(member.run_id))]


def read_ensemble(
    paths: EnsemblePaths, *, require_all: bool = False, min_members: int = MIN_MEMBERS
) -> tuple[list[RegisteredMember], MergeHistoryEnsemble]:
    """The finished members and their histories.

    Raises:
        MemberFailedError: fewer than min_members are finished, or with require_all not all.
        DamagedFileError: a history cannot be read.
    """
    members, finished = registered_members(paths), finished_members(paths)
    missing = [member.idx for member in members if member not in finished]
    if len(finished) < (len(members) if require_all else min_members):
        needed = "all must be" if require_all else f"at least {min_members} must be"
        raise MemberFailedError(
            f"{paths.ensemble_id}: {len(finished)} of {len(members)} members are finished, {needed}, to be compared"
            f"{_missing(missing)}"
        )
    if missing:
        logger.warning(
            "%s: compares %d of %d members%s", paths.ensemble_id, len(finished), len(members), _missing(missing)
        )
    if isinstance(paths, ForeignEnsemble):
        return finished, paths.read()
    return finished, MergeHistoryEnsemble([MergeHistory.read(paths.run(member.run_id).history) for member in finished])


def _missing(idxs: list[int]) -> str:
    return f" (missing: {', '.join(map(str, idxs))})" if idxs else ""


def product_state(
    paths: EnsemblePaths, product: str, settings: dict[str, Any] | None = None, sources: Fingerprints | None = None
) -> ProductState:
    """Whether a product is whole and of today's finished members.

    Args:
        settings: that it should be made with; None: any.
        sources: that it should be made from; None: the histories of the finished members.

    Returns:
        `unknown` where it has no manifest, as older versions and other programs leave it.

    Raises:
        SPDError: a history cannot be read.
    """
    if not has_manifest(paths.manifest(product)):
        return "unknown"
    manifest = read_manifest(paths.manifest(product))
    if sources is None:
        sources = history_fingerprints(paths, finished_members(paths))
    if manifest is None or not manifest.is_of(settings, sources):
        return "stale"
    return "stale" if manifest.lost(paths.directory) else "current"


def record_product(
    paths: EnsemblePaths, product: str, settings: dict[str, Any], sources: Fingerprints, files: Iterable[Path]
) -> None:
    """Write the manifest of a product, once all of its files are written; a figure that was not drawn is left out.

    Raises:
        SPDError: it cannot be written.
    """
    written = fingerprints_of((file for file in files if file.is_file()), paths.directory)
    Manifest(settings, sources, written).write(paths.manifest(product))


def history_fingerprints(paths: EnsemblePaths, members: Sequence[RegisteredMember]) -> Fingerprints:
    """Fingerprints of the members' histories, by run id.

    Raises:
        SPDError: one cannot be read.
    """
    return {member.run_id: fingerprint(paths.run(member.run_id).history) for member in members}


def collect_ensemble(paths: EnsemblePaths, *, require_all: bool = False) -> MergeHistoryEnsemble:
    """Write ensemble_merge_array.npz and ensemble_meta.json, unless they are whole and of these members already.

    Raises:
        SPDError: see read_ensemble; a file cannot be written.
    """
    with working_on(paths, SECONDS_TO_COLLECT):
        members, ensemble = read_ensemble(paths, require_all=require_all)
        settings = {"registered": [member.run_id for member in registered_members(paths)]}
        if product_state(paths, MERGE_ARRAY, settings) != "current":
            sources = history_fingerprints(paths, members)
            _write_merge_array(paths, members, ensemble)
            record_product(paths, MERGE_ARRAY, settings, sources, [paths.merge_array, paths.meta])
    return ensemble


def _write_merge_array(
    paths: EnsemblePaths, members: Sequence[RegisteredMember], ensemble: MergeHistoryEnsemble
) -> None:
    iterations = ensemble.save_merge_array(paths.merge_array)
    if len(iterations) < ensemble.n_iters_min:
        logger.warning(
            "%s: holds %d of %d iterations, since all would take too much space",
            paths.merge_array,
            len(iterations),
            ensemble.n_iters_min,
        )
    metadata = ensemble.metadata()
    for member, entry in zip(members, metadata["history_metadatas"], strict=True):
        entry["origin_path"] = str(paths.run(member.run_id).history)
    registered = registered_members(paths)
    finished = {member.idx for member in members}
    metadata["ensemble_id"] = paths.ensemble_id
    metadata["members"] = [{"idx": member.idx, "clustering_run_id": member.run_id} for member in members]
    metadata["missing_members"] = [
        {"idx": member.idx, "clustering_run_id": member.run_id, "state": member.state, "error": member.error}
        for member in registered
        if member.idx not in finished
    ]
    write_json(paths.meta, metadata)


def calc_distances(paths: EnsemblePaths, method: str, *, require_all: bool = False, output: Path | None = None) -> Path:
    """Compare the finished members by one method; write distances_<method>.npz and .png.

    Args:
        output: the directory to write them into, and nothing else; None: the ensemble's own, with its merge array
            where that is ours. The very same distances of another program are kept.

    Raises:
        SPDError: see read_ensemble; the method is not known; a file cannot be written; the ensemble is another
            program's and there is no output.
    """
    checked_method(method)
    target = output_of(paths, output)
    files = [target.distances(method), target.distances_figure(method)]
    is_ours = output is None and not isinstance(paths, ForeignEnsemble)
    sources = history_fingerprints(paths, finished_members(paths))
    if is_ours:
        ensemble = collect_ensemble(paths, require_all=require_all)
    else:
        _, ensemble = read_ensemble(paths, require_all=require_all)
    distances = ensemble.get_distances(method)  # type: ignore[arg-type]
    if not is_ours:
        check_replaceable(target, distances_product(method), files[1:])
        try:
            check_replaceable(target, distances_product(method), files[:1])
        except SPDError:
            if not _holds(files[0], distances):
                raise
            files = files[1:]
    if target.distances(method) in files:
        write_npz(target.distances(method), {"distances": distances})
    with best_effort(f"the figure of {method}"):
        save_distance_figure(target.distances_figure(method), distances, method, ensemble.c_components)
    record_product(target, distances_product(method), {"method": method}, sources, files)
    return target.distances(method)


def _holds(path: Path, distances: np.ndarray) -> bool:
    """Whether a file has just these distances."""
    try:
        return np.array_equal(read_distances(path), distances, equal_nan=True)
    except SPDError:
        return False


def distances_product(method: str) -> str:
    """What the manifest of the distances by a method is called."""
    return f"distances_{checked_method(method)}"


def distances_are_current(paths: EnsemblePaths, method: str) -> bool:
    """Whether distances and figure are whole, and of the members that are finished now."""
    return product_state(paths, distances_product(method)) == "current"


def read_distances(path: Path) -> np.ndarray:
    """(n_iters, n_ens, n_ens) distances, NaN but below the diagonal.

    Raises:
        DamagedFileError, MissingFileError: the file cannot be read.
    """
    distances = read_npz(path, ["distances"])["distances"]
    if distances.ndim != 3 or distances.dtype.kind != "f" or distances.shape[1] != distances.shape[2]:
        raise DamagedFileError(f"{path}: expected distances (n_iters, n_ens, n_ens), got shape {distances.shape}")
    return distances


def mean_distance(distances: np.ndarray, n_merges: int | None = None) -> tuple[int, float] | None:
    """(number of merges, mean distance between two members) after that many merges, or after the last ones.

    Where a method leaves iterations out (NaN), the last one before that has it. None where there is none.
    """
    rows, columns = np.tril_indices(distances.shape[1], -1)
    pairs = distances[:n_merges, rows, columns]
    known = np.flatnonzero(np.isfinite(pairs).all(axis=1))
    if not len(known) or not len(rows):
        return None
    return int(known[-1]) + 1, float(pairs[known[-1]].mean())
