"""What an ensemble's members say together: merge array, metadata, distances.

Only finished members count. With `require_all` every registered member must be finished, otherwise two are enough;
the metadata and the log say who is missing.
"""

import logging
from pathlib import Path

import numpy as np

from spd.clustering.ensemble_registry import RegisteredMember, get_members
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.clustering.pipeline.run_state import is_finished
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import EnsemblePaths, checked_method
from spd.errors import DamagedFileError, MemberFailedError, MissingFileError, SPDError
from spd.files.checked import read_json, read_npz, write_json, write_npz

logger = logging.getLogger(__name__)

MIN_MEMBERS = 2


def registered_members(paths: EnsemblePaths) -> list[RegisteredMember]:
    """All members, by index.

    Raises:
        MissingFileError: the ensemble is not registered.
    """
    members = get_members(paths.ensemble_id, path=paths.registry)
    if not members:
        raise MissingFileError(f"the ensemble {paths.ensemble_id} is not registered in {paths.registry}")
    return members


def finished_members(paths: EnsemblePaths) -> list[RegisteredMember]:
    """Those on which nothing is left to do."""
    return [member for member in registered_members(paths) if is_finished(paths.run(member.run_id))]


def read_ensemble(
    paths: EnsemblePaths, *, require_all: bool = False
) -> tuple[list[RegisteredMember], MergeHistoryEnsemble]:
    """The finished members and their histories.

    Raises:
        MemberFailedError: fewer than two are finished, or with require_all not all.
        DamagedFileError: a history cannot be read.
    """
    members, finished = registered_members(paths), finished_members(paths)
    missing = [member.idx for member in members if member not in finished]
    if len(finished) < (len(members) if require_all else MIN_MEMBERS):
        needed = "all must be" if require_all else f"at least {MIN_MEMBERS} must be"
        raise MemberFailedError(
            f"{paths.ensemble_id}: {len(finished)} of {len(members)} members are finished, {needed}, to be compared"
            f"{_missing(missing)}"
        )
    if missing:
        logger.warning(
            "%s: compares %d of %d members%s", paths.ensemble_id, len(finished), len(members), _missing(missing)
        )
    return finished, MergeHistoryEnsemble([MergeHistory.read(paths.run(member.run_id).history) for member in finished])


def _missing(idxs: list[int]) -> str:
    return f" (missing: {', '.join(map(str, idxs))})" if idxs else ""


def collect_ensemble(paths: EnsemblePaths, *, require_all: bool = False) -> MergeHistoryEnsemble:
    """Write ensemble_merge_array.npz and ensemble_meta.json, unless they are those of the same members already.

    Raises:
        SPDError: see read_ensemble; a file cannot be written.
    """
    members, ensemble = read_ensemble(paths, require_all=require_all)
    run_ids = [member.run_id for member in members]
    if _collected(paths) == run_ids and paths.merge_array.is_file():
        return ensemble
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
    return ensemble


def _collected(paths: EnsemblePaths) -> list[str] | None:
    try:
        return [member["clustering_run_id"] for member in read_json(paths.meta, required=["members"])["members"]]
    except (SPDError, KeyError, TypeError):
        return None


def calc_distances(paths: EnsemblePaths, method: str, *, require_all: bool = False) -> Path:
    """Compare the finished members by one method; write distances_<method>.npz and .png.

    Raises:
        SPDError: see read_ensemble; the method is not known; a file cannot be written.
    """
    checked_method(method)
    ensemble = collect_ensemble(paths, require_all=require_all)
    distances = ensemble.get_distances(method)  # type: ignore[arg-type]
    write_npz(paths.distances(method), {"distances": distances})
    from spd.clustering.plotting.figures import save_distance_figure

    with best_effort(f"the figure of {method}"):
        save_distance_figure(paths.distances_figure(method), distances, method, ensemble.c_components)
    return paths.distances(method)


def distances_are_current(paths: EnsemblePaths, method: str) -> bool:
    """Whether distances and figure are there and made from the merge array that is there now."""
    written, merge_array = paths.distances(method), paths.merge_array
    try:
        n_members = len(read_json(paths.meta, required=["members"])["members"])
        is_newer = written.stat().st_mtime_ns >= merge_array.stat().st_mtime_ns
        return is_newer and paths.distances_figure(method).is_file() and read_distances(written).shape[1] == n_members
    except (SPDError, OSError):
        return False


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
