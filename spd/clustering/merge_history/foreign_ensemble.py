"""Ensembles of other tools, whose members are known by the paths of their histories only.

`ensemble_meta.json` lists them under `origin_paths`, or older ones as `origin_path` of each of `history_metadatas`, as
they were called where the ensemble was made: absolute on another machine, or relative to some working directory. Each
is looked for as it is given, then as `runs/<run id>/history.zip` beside the directory `ensembles/` that the ensemble
lies in.
"""

from pathlib import Path

import numpy as np

from spd.clustering.merge_history.ensemble import MergeHistoryEnsemble
from spd.clustering.merge_history.history import MergeHistory
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import DamagedFileError, MissingFileError
from spd.files.checked import read_json, read_npz


def origin_histories(directory: Path | str) -> list[Path] | None:
    """The members' histories, in the order of the ensemble; None where it does not name them.

    Raises:
        MissingFileError: the directory has no ensemble_meta.json, or a history is in none of the places.
        DamagedFileError: ensemble_meta.json is not whole, or origin_paths is no list of paths.
    """
    paths = EnsemblePaths.at(Path(directory))
    meta = read_json(paths.meta)
    origins, older = meta.get("origin_paths"), meta.get("history_metadatas")
    if origins is None and isinstance(older, list) and all(isinstance(entry, dict) for entry in older):
        origins = [entry.get("origin_path") for entry in older]
        if None in origins:
            return None
    if origins is None:
        return None
    if not isinstance(origins, list) or not all(isinstance(path, str) and path for path in origins):
        raise DamagedFileError(f"{paths.meta}: origin_paths must be a list of paths or null")
    return [_found(Path(path), paths) for path in origins]


def read_foreign_ensemble(directory: Path | str) -> MergeHistoryEnsemble:
    """The histories of an ensemble's members, checked against what the ensemble says of them.

    Raises:
        MissingFileError: a file is missing, or the members are not named.
        DamagedFileError: a file is not whole, or a history is not the one that the ensemble was made from.
    """
    paths = EnsemblePaths.at(Path(directory))
    histories = origin_histories(directory)
    if histories is None:
        raise MissingFileError(f"{paths.meta}: names no histories (origin_paths), so its members are unknown")
    ensemble = MergeHistoryEnsemble([MergeHistory.read(path) for path in histories])
    labels = read_json(paths.meta, required=["component_labels"])["component_labels"]
    if ensemble.component_labels != labels:
        raise DamagedFileError(f"{paths.meta}: its components are not those of the histories that it names")
    _check_merge_array(paths.merge_array, ensemble, histories)
    return ensemble


def _found(origin: Path, paths: EnsemblePaths) -> Path:
    run = origin.parent if origin.suffix == ".zip" else origin
    beside = EnsemblePaths.at(paths.directory.resolve()).root / RunPaths.folder / run.name
    places = [origin if origin.suffix == ".zip" else RunPaths.at(origin).history, RunPaths.at(beside).history]
    for place in places:
        if place.is_file():
            return place
    raise MissingFileError(f"{paths.meta}: the history of {run.name} is neither {places[0]} nor {places[1]}")


def _check_merge_array(path: Path, ensemble: MergeHistoryEnsemble, paths: list[Path]) -> None:
    """The last partition that all members have must be the one stored, where one is."""
    if not path.is_file() or not ensemble.n_iters_min:
        return
    stored = read_npz(path, ["merge_array"])["merge_array"]
    expected = (ensemble.n_ensemble, ensemble.c_components)
    if stored.ndim != 3 or (stored.shape[0], stored.shape[2]) != expected or stored.shape[1] < ensemble.n_iters_min:
        raise DamagedFileError(
            f"{path}: merge_array of shape {stored.shape} does not fit {expected} members and components"
        )
    last = ensemble.n_iters_min - 1
    for member, (history, columns) in enumerate(zip(ensemble, ensemble.columns(), strict=True)):
        if not np.array_equal(stored[member, last, columns], history.merges.at([last])[0]):
            raise DamagedFileError(f"{path}: its groups of member {member} are not those of {paths[member]}")
