"""Which cluster each component is in: of one run, of one member of an ensemble, or of the consensus of an ensemble.

A cluster is named by its index at that iteration, or among the groups found; a component that is alone has null.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spd.clustering.consensus import FOUND_GROUPS, Cut, MemberCuts, cut_members, find_consensus, read_stable_groups
from spd.clustering.consensus.mapping_form import MappingFormat, clusters_of, in_format
from spd.clustering.merge_history import MergeHistory, checked_iteration
from spd.clustering.pipeline.comparison import read_ensemble, registered_members
from spd.clustering.pipeline.foreign import ForeignEnsemble, ensemble_at, is_registered, model_of
from spd.clustering.pipeline.found_groups import read_found_groups
from spd.clustering.pipeline.stable_groups import cut_ensemble, stable_groups_state
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import MissingFileError, SPDError
from spd.files.checked import read_json, read_npz

logger = logging.getLogger(__name__)

Iteration = int | Literal["best", "groups"]
Clusters = dict[str, int | None]


def get_cluster_mapping(
    directory: Path | str,
    iteration: Iteration,
    *,
    run_idx: int | None = None,
    notes: str = "",
    n_groups: int | None = None,
    format: MappingFormat = "spd",
) -> dict[str, Any]:
    """The clusters of a run directory or of an ensemble directory.

    Args:
        directory: of a run (it holds history.zip) or of an ensemble (it holds ensemble_meta.json).
        iteration: the state after this merge (negative: counted from the end), "best": at the least MDL, or "groups":
            the groups found in the memberships.
        run_idx: for an ensemble: which member; None: the consensus of all.
        notes: free text, kept in the mapping; where there is none, found groups say there what they are.
        n_groups: with "groups": the partition nearest to this many groups, those of one component counted; of a run
            without groups.json, that of its history, with a warning.
        format: under which key the model is named: `spd`: spd_run, `pd`: pd_run.

    Returns:
        {clustering_run_id, notes, spd_run, iteration, clusters} for a run (iteration null: found groups, or before any
        merge, which is best when none pays), {ensemble_id, notes, spd_run, n_iterations, run_idx, clusters} for an
        ensemble, where n_iterations is the iteration, too, under the key that readers of ensemble mappings know (null
        for found groups, and for the consensus of members each cut at its own best one).

    Raises:
        SPDError: there is no such directory, iteration or member, a file is damaged, the best iteration is not known,
            the run has no groups, or there is no consensus yet.
    """
    if n_groups is not None and iteration != "groups":
        raise SPDError(f"a number of groups ({n_groups}) goes with the iteration 'groups', got {iteration!r}")
    directory = Path(directory).absolute()
    run, ensemble = RunPaths.at(directory), ensemble_at(directory)
    if ensemble.meta.is_file() or ensemble.merge_array.is_file() or is_registered(ensemble):
        return in_format(_ensemble_mapping(ensemble, _Wanted(iteration, n_groups), run_idx, notes), format)
    if not run.history.is_file():
        reason = (
            f"holds neither {run.history.name} nor {ensemble.meta.name}" if directory.is_dir() else "does not exist"
        )
        raise MissingFileError(f"{directory}: {reason}; expected the directory of a finished run or of an ensemble")
    if run_idx is not None:
        raise SPDError(f"{directory}: is a run, not an ensemble, and has no member {run_idx}")
    found = _run_clusters(run, _Wanted(iteration, n_groups))
    mapping = {
        "clustering_run_id": directory.name,
        "notes": notes or found.what,
        "spd_run": _spd_run(run.config),
        "iteration": found.iteration,
        "clusters": found.clusters,
    }
    return in_format(mapping, format)


@dataclass(frozen=True)
class _Wanted:
    """See get_cluster_mapping."""

    iteration: Iteration
    n_groups: int | None = None

    @property
    def cut(self) -> Cut:
        """Of the members of an ensemble."""
        if self.iteration == "groups":
            return Cut(n_groups=self.n_groups, is_found=True)
        return Cut() if self.iteration == "best" else Cut(iteration=self.iteration)


@dataclass(frozen=True)
class _Found:
    """Clusters, after how many merges of a history (None: of none), and what they are where that must be said."""

    clusters: Clusters
    n_merges: int | None = None
    what: str = ""

    @property
    def iteration(self) -> int | None:
        return self.n_merges - 1 if self.n_merges else None


def _run_clusters(run: RunPaths, wanted: _Wanted) -> _Found:
    """Those of a run, from its groups or its history."""
    if wanted.iteration != "groups":
        return _history_clusters(run.history, wanted.iteration)
    history = MergeHistory.read(run.history)
    if wanted.n_groups is not None and not run.groups.is_file():
        n_groups = min(max(wanted.n_groups, history.final_k_groups), history.c_components)
        n_merges = history.n_merges_to(n_groups)
        what = f"the merge history's state with {n_groups} groups, since {run.groups.name} is not there"
        logger.warning("%s: %s", run.directory, what)
        return _Found(clusters_of(history.labels, history.partition_after(n_merges)), n_merges, what)
    groups = read_found_groups(run, history)
    partition = wanted.cut.of_groups(groups)
    what = "the groups found"
    if wanted.n_groups is not None:
        what = f"the groups found, cut at {partition.max(initial=-1) + 1} groups, nearest to {wanted.n_groups}"
        logger.info("%s: %s", run.groups, what)
    return _Found(clusters_of(groups.labels, partition), None, what)


def _history_clusters(path: Path, iteration: int | Literal["best"]) -> _Found:
    """Those of a history at an iteration."""
    history = MergeHistory.read(path)
    try:
        n_merges = history.n_merges_at(iteration)
    except SPDError as error:
        hint = "; give a number to --iteration" if iteration == "best" else ""
        raise SPDError(f"{path}: {error}{hint}") from error
    return _Found(clusters_of(history.labels, history.partition_after(n_merges)), n_merges)


def _ensemble_mapping(paths: EnsemblePaths, wanted: _Wanted, run_idx: int | None, notes: str) -> dict[str, Any]:
    meta = _metadata(paths)
    ensemble_id = meta.get("ensemble_id") or paths.directory.name
    known = _member_indices(meta)
    if run_idx is not None or len(known) == 1:
        found = _member_clusters(paths, meta, wanted, known[0] if run_idx is None else run_idx)
    else:
        found = _consensus_clusters(paths, wanted)
    return {
        "ensemble_id": ensemble_id,
        "notes": notes or found.what,
        "spd_run": _spd_run(paths.clustering_run_config, *(run.config for run in _member_runs(paths, meta).values())),
        "n_iterations": found.iteration,
        "run_idx": run_idx,
        "clusters": found.clusters,
    }


def _member_clusters(paths: EnsemblePaths, meta: dict[str, Any], wanted: _Wanted, run_idx: int) -> _Found:
    """From the member's own files where they are at hand, else from the merge array."""
    labels: list[str] = meta["component_labels"]
    known = _member_indices(meta)
    if run_idx not in known:
        raise SPDError(f"{paths.directory}: has no member {run_idx}, its members are {', '.join(map(str, known))}")
    run = _member_runs(paths, meta).get(run_idx)
    if run is not None and run.history.is_file():
        found = _run_clusters(run, wanted)
        return replace(found, clusters={label: found.clusters.get(label) for label in labels})
    if isinstance(wanted.iteration, str):
        unknown = "its best iteration is" if wanted.iteration == "best" else "its groups are"
        raise SPDError(
            f"{paths.directory}: the history of member {run_idx} is not at hand, so {unknown} unknown; "
            "give a number to --iteration"
        )
    states = _merge_array(paths, len(labels), len(known))[known.index(run_idx)]
    n_iters = int((states >= 0).all(axis=1).sum())  # goodfire-ai/spd fills rows beyond a member's last merge with -1
    index = _checked_iteration(wanted.iteration, n_iters, str(paths.merge_array))
    return _Found(clusters_of(labels, states[index]), index + 1)


def _consensus_clusters(paths: EnsemblePaths, wanted: _Wanted) -> _Found:
    """The consensus that is stored, where it is of this cut, else a new one of the members."""
    if isinstance(wanted.iteration, int):
        _, ensemble = read_ensemble(paths)
        index = _checked_iteration(wanted.iteration, ensemble.n_iters_min, str(paths.directory))
        return _Found(_new_consensus(cut_members(list(ensemble), Cut(iteration=index))), index + 1)
    what = f"consensus partition; members cut at {wanted.cut}" if wanted.cut.is_found else ""
    if wanted.cut in (Cut(), FOUND_GROUPS) and not isinstance(paths, ForeignEnsemble):
        stored = _stored_consensus(paths, wanted.cut)
        if stored is not None:
            return _Found(stored, None, what)
    return _Found(_new_consensus(cut_ensemble(paths, wanted.cut)), None, what)


def _stored_consensus(paths: EnsemblePaths, cut: Cut) -> Clusters | None:
    """None where it was made of another cut.

    Raises:
        SPDError: there is none yet, it is of other members than now, or damaged.
    """
    path = paths.consensus_mapping
    how = (
        f"make it by python -m spd.clustering.scripts.calc_consensus --pipeline-run-id {paths.directory.name}, or "
        "choose one member by --run-idx"
    )
    if not path.is_file():
        raise MissingFileError(f"{paths.directory}: holds no consensus yet ({path.name}); {how}")
    if stable_groups_state(paths) == "stale":
        raise SPDError(f"{path}: is of other members than now, or damaged; {how}")
    made_at = read_stable_groups(paths.stable_groups)["cut"] if paths.stable_groups.is_file() else str(Cut())
    if made_at != str(cut):
        return None
    clusters = read_json(path, required=["clusters"])["clusters"]
    if not isinstance(clusters, dict):
        raise SPDError(f"{path}: 'clusters' must be a mapping of labels to clusters")
    return clusters


def _new_consensus(cuts: MemberCuts) -> Clusters:
    consensus = find_consensus(cuts)
    return clusters_of(consensus.labels, consensus.consensus)


def _metadata(paths: EnsemblePaths) -> dict[str, Any]:
    """ensemble_meta.json; of an ensemble that was not compared yet, or has one member only, from its histories."""
    if paths.meta.is_file() or paths.merge_array.is_file():
        return read_json(paths.meta, required=["component_labels"])
    members, ensemble = read_ensemble(paths, min_members=1)
    indices = [{"idx": member.idx, "clustering_run_id": member.run_id} for member in members]
    return {"component_labels": ensemble.component_labels, "members": indices}


def _checked_iteration(iteration: int, n_iterations: int, where: str) -> int:
    try:
        return checked_iteration(iteration, n_iterations)
    except SPDError as error:
        raise SPDError(f"{where}: {error}") from error


def _member_indices(meta: dict[str, Any]) -> list[int]:
    """The index of each member, in the order of the merge array; files of goodfire-ai/spd just count them."""
    members = meta.get("members")
    if isinstance(members, list):
        return [int(member["idx"]) for member in members]
    return list(range(int(meta.get("n_ensemble", 0))))


def _member_runs(paths: EnsemblePaths, meta: dict[str, Any]) -> dict[int, RunPaths]:
    """By index: from the metadata, or from the registry, which is all that goodfire-ai/spd writes; {} without both."""
    if isinstance(paths, ForeignEnsemble):
        return paths.checked_runs()
    members = meta.get("members")
    if isinstance(members, list):
        return {int(member["idx"]): paths.run(str(member["clustering_run_id"])) for member in members}
    try:
        return {member.idx: paths.run(member.run_id) for member in registered_members(paths)}
    except SPDError:
        return {}


def _merge_array(paths: EnsemblePaths, n_components: int, n_members: int) -> np.ndarray:
    content = read_npz(paths.merge_array)
    if "merge_array" not in content:
        raise SPDError(f"{paths.merge_array}: lacks 'merge_array'")
    array = content["merge_array"]
    if array.ndim != 3 or array.shape[0] != n_members or array.shape[2] != n_components:
        raise SPDError(
            f"{paths.merge_array}: has shape {array.shape}, {paths.meta.name} speaks of {n_members} members and "
            f"{n_components} components"
        )
    if "iterations" in content and len(content["iterations"]) and content["iterations"][-1] >= array.shape[1]:
        raise SPDError(f"{paths.merge_array}: holds some iterations only, and the member's history is not at hand")
    return array


def _spd_run(*configs: Path) -> str | None:
    """What the first config that is there says, else the harvests; None, with a warning, where nothing does."""
    return model_of([config.parent for config in configs])
