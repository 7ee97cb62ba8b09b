"""What a directory holds for a report: the groups of an ensemble, of a run, or of a mapping, and what made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus.stable_groups_file import read_stable_groups
from spd.clustering.groups import Groups
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.grouping import Grouping, from_groups, from_history, from_mapping
from spd.clustering.storage import EnsemblePaths, HarvestPaths, RunPaths
from spd.errors import MissingFileError, SPDError
from spd.files.checked import read_json
from spd.files.fingerprint import fingerprint

Kind = Literal["ensemble", "run", "harvest"]


@dataclass(frozen=True, eq=False)
class Opened:
    """A directory that was read.

    Attributes:
        directory, kind: which.
        grouping: its groups.
        config: what the clustering ran on; None: not known.
        history: the merges; of an ensemble those of its representative member; None: there are none.
        settings: how the groups were made (JSON types).
        agreement: of the ensemble's members along the number of groups.
        missing: sentences about what could not be read.
    """

    directory: Path
    kind: Kind
    grouping: Grouping
    config: ClusteringRunConfig | None
    history: MergeHistory | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    agreement: dict[str, Any] | None = None
    missing: tuple[str, ...] = ()


def open_directory(directory: Path | str, mapping: Path | str | None = None) -> Opened:
    """Read an ensemble, a run, or a harvest.

    Args:
        directory: of one of them.
        mapping: a mapping file; its groups are taken instead of the directory's own. A harvest needs one.

    Raises:
        SPDError: it is none of them, is not finished, or a file in it is damaged.
    """
    directory = Path(directory).expanduser().absolute()
    ensemble, run, harvest = EnsemblePaths.at(directory), RunPaths.at(directory), HarvestPaths.at(directory)
    if ensemble.meta.is_file() or ensemble.stable_groups.is_file():
        opened = _open_ensemble(ensemble, mapping is not None)
    elif run.history.is_file():
        opened = _open_run(run)
    elif harvest.metadata.is_file():
        if mapping is None:
            raise SPDError(f"{directory}: is a harvest, which has no groups: give a mapping, --mapping FILE")
        config = SavedHarvest(harvest).config
        opened = Opened(directory, "harvest", from_mapping({"none": None}, ""), config, settings=_settings(config))
    else:
        raise _no_directory(directory, run, ensemble, harvest)
    return opened if mapping is None else replace(opened, grouping=read_mapping(Path(mapping)))


def read_mapping(path: Path) -> Grouping:
    """A mapping file: `{..., "clusters": {label: group or null}}`, or the clusters alone.

    Raises:
        SPDError: it is missing, damaged, or no mapping.
    """
    content = read_json(path)
    clusters = content.get("clusters", content)
    if not isinstance(clusters, dict):
        raise SPDError(f"{path}: 'clusters' must be a mapping of labels to groups, got {type(clusters).__name__}")
    try:
        return from_mapping(clusters, f"mapping {path.name}")
    except SPDError as error:
        raise SPDError(f"{path}: {error}") from error


def _no_directory(directory: Path, run: RunPaths, ensemble: EnsemblePaths, harvest: HarvestPaths) -> SPDError:
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        return MissingFileError(f"{directory}: {what}; expected the directory of a finished run or an ensemble")
    if ensemble.pipeline_config.is_file():
        return MissingFileError(
            f"{directory}: is an ensemble without {ensemble.stable_groups.name} (fewer than two members are finished): "
            f"expected it compared, or the directory of a member, {ensemble.root / RunPaths.folder}/<run>"
        )
    if run.checkpoint.exists() or run.config.is_file():
        return MissingFileError(
            f"{directory}: holds no {run.history.name}: expected the directory of a finished run or of an ensemble"
        )
    return MissingFileError(
        f"{directory}: holds none of {run.history.name}, {ensemble.meta.name}, {harvest.metadata.name}: expected the "
        "directory of a finished run, an ensemble, or a harvest"
    )


def _open_run(paths: RunPaths) -> Opened:
    history = MergeHistory.read(paths.history)
    config, missing = _config(paths.config)
    settings = _settings(config) | {"run": paths.run_id}
    groups_path = paths.groups
    if groups_path.is_file():
        groups = Groups.read(paths.groups, labels=history.labels)
        method = f"find_groups on {groups.n_samples:,} samples"
        return Opened(paths.directory, "run", from_groups(groups, method), config, history, settings, None, missing)
    n_merges = history.n_merges_to_show
    settings["n_merges"] = n_merges
    grouping = from_history(history, n_merges, _method(history))
    return Opened(paths.directory, "run", grouping, config, history, settings, None, missing)


def _method(history: MergeHistory) -> str:
    """What made the groups of a history that has no others, in words."""
    alpha, n_merges = history.merge_config.alpha, history.known_best_n_merges
    if n_merges is None:
        return f"all {len(history)} merges at alpha {alpha:g}: the file holds no costs"
    return f"MDL minimum at alpha {alpha:g}, after {n_merges} of {len(history)} merges"


def _open_ensemble(paths: EnsemblePaths, has_mapping: bool) -> Opened:
    if not paths.stable_groups.is_file():
        config, _ = _config(paths.clustering_run_config)
        if not has_mapping:
            raise MissingFileError(
                f"{paths.directory}: holds no {paths.stable_groups.name}: make it by python -m "
                f"spd.clustering.scripts.calc_consensus --pipeline-run-id {paths.ensemble_id}"
            )
        return Opened(paths.directory, "ensemble", from_mapping({"none": None}, ""), config, settings=_settings(config))
    if not has_mapping:
        _check_members(paths)
    content = read_stable_groups(paths.stable_groups)
    runs = [paths.run(str(member["run_id"])) for member in content["members"] if member.get("run_id")]
    config, missing = _config(paths.clustering_run_config, *(run.config for run in runs))
    grouping = consensus_grouping(content)
    summary = content["summary"]
    settings = _settings(config) | {
        "ensemble": content.get("ensemble_id") or paths.ensemble_id,
        "cut": content.get("cut"),
        "threshold": content["threshold"],
        "n_members": summary.get("n_members"),
        "mean_adjusted_rand": summary.get("mean_adjusted_rand"),
        "n_contested": summary.get("n_contested"),
        "representative": summary.get("representative"),
    }
    history, absent = _representative(paths, content)
    return Opened(
        paths.directory,
        "ensemble",
        grouping,
        config,
        history,
        settings,
        _agreement(content.get("agreement")),
        missing + absent,
    )


def _check_members(paths: EnsemblePaths) -> None:
    """Whether the stable groups are of the members as they are now, as far as their manifest says; a member whose
    history is gone is no error.

    Raises:
        SPDError: one was made again since.
    """
    try:
        made_from = read_json(paths.manifest("stable_groups"), required=["sources"])["sources"]
    except SPDError:
        return  # of an older version, or of another program
    for source, expected in dict(made_from).items():  # a run's id is its history, <run id>/groups.json are its groups
        run_id, _, name = source.partition("/")
        path = paths.run(run_id).groups if name else paths.run(run_id).history
        if path.is_file() and fingerprint(path) != expected:
            raise SPDError(
                f"{paths.stable_groups}: is of another {path.name} of {run_id} than now: make it again by python -m "
                f"spd.clustering.scripts.calc_consensus --pipeline-run-id {paths.ensemble_id}"
            )


def consensus_grouping(content: Mapping[str, Any]) -> Grouping:
    """The consensus partition of a stable_groups.json, with its verdicts, confidence, and contested components."""
    places: dict[str, dict[str, Any]] = content["components"]
    members = len(content["members"])
    method = f"consensus of {members} members, cut at {content.get('cut')}"
    grouping = from_mapping({label: place["group"] for label, place in places.items()}, method)
    at = {int(group): place for place, group in enumerate(grouping.ids)}
    verdicts = {at[group["id"]]: (group["verdict"], group["why"]) for group in content["groups"] if group["id"] in at}
    secondary = tuple(
        (component, at[other["group"]], float(other["share"]))
        for component, place in enumerate(places.values())
        for other in place["moves_between"]
        if other["group"] is not None and other["group"] != place["group"] and other["share"] is not None
    )
    confidence = [place["confidence"] for place in places.values()]
    return replace(
        grouping,
        confidence=np.array([np.nan if value is None else value for value in confidence], np.float64),
        secondary=secondary,
        verdicts=verdicts,
        parts=np.array([-1 if place["stable_group"] is None else place["stable_group"] for place in places.values()]),
    )


def _representative(paths: EnsemblePaths, content: Mapping[str, Any]) -> tuple[MergeHistory | None, tuple[str, ...]]:
    """The history of the member that represents the ensemble best."""
    for member in content["members"]:
        if member.get("is_representative") and member.get("run_id"):
            path = paths.run(str(member["run_id"])).history
            if path.is_file():
                return MergeHistory.read(path), ()
            return None, (f"the history of the representative member, {path}, is gone: no reasons and no other cuts.",)
    return None, ("no member is named as representative: no reasons and no other cuts.",)


def _agreement(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Along the number of groups: mean, least and greatest adjusted Rand index of two members."""
    if not found:
        return None
    return {
        "n_groups": found["n_groups"],
        "mean": found["mean"],
        "min": found.get("min", found.get("least")),
        "max": found.get("max", found.get("most")),
    }


def _config(path: Path, *others: Path) -> tuple[ClusteringRunConfig | None, tuple[str, ...]]:
    """The config, or the first that can be read of the members', which an ensemble put together by hand has only."""
    if path.is_file():
        return ClusteringRunConfig.from_file(path), ()
    for other in others:
        try:
            return ClusteringRunConfig.from_file(other), ()
        except SPDError:  # none, or another program's, of another form
            continue
    return None, (f"{path.name} is missing, so the model is not known: the page has no contexts.",)


def _settings(config: ClusteringRunConfig | None) -> dict[str, Any]:
    if config is None:
        return {}
    merge = config.merge_config
    return {
        "alpha": merge.alpha,
        "activation_threshold": merge.activation_threshold,
        "filter_dead_threshold": merge.filter_dead_threshold,
        "sampler": merge.merge_pair_sampling_method,
        "batch_size": config.batch_size,
        "dataset_seed": config.dataset_seed,
    }
