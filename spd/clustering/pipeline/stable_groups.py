"""The stable groups of an ensemble as files: stable_groups.json, its table, the mapping of the consensus, figures."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spd.clustering import consensus
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import history_fingerprints, product_state, read_ensemble, record_product
from spd.clustering.pipeline.ensemble import stored_run_config
from spd.clustering.pipeline.foreign import check_replaceable, ensemble_model, output_of
from spd.clustering.pipeline.provenance import read_manifest
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import EnsemblePaths
from spd.clustering.tracking.ensemble import track_ensemble
from spd.files.csv_table import write_csv

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.9
STABLE_GROUPS = "stable_groups"
FIGURES = ("stability.png", "coassociation.png")


@dataclass(frozen=True)
class StableGroupsSettings:
    """How stable groups are found.

    Attributes:
        cut: where the members are cut.
        threshold: the least mean co-association inside a stable group.
    """

    cut: consensus.Cut = field(default_factory=consensus.Cut)
    threshold: float = DEFAULT_THRESHOLD

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of them."""
        return asdict(self)


def write_stable_groups(
    paths: EnsemblePaths,
    settings: StableGroupsSettings | None = None,
    *,
    require_all: bool = False,
    output: Path | None = None,
) -> consensus.StableGroups:
    """Find the stable groups of an ensemble's finished members and write all files.

    Args:
        settings: None: the defaults.
        output: the directory to write into; None: the ensemble's own.

    Returns:
        The content of stable_groups.json.

    Raises:
        SPDError: fewer than two finished members, a history that cannot be read or cut, a file that cannot be written.
    """
    settings = settings or StableGroupsSettings()
    target = output_of(paths, output)
    files = _files(target)
    if output is not None:
        check_replaceable(target, STABLE_GROUPS, files)
    members, ensemble = read_ensemble(paths, require_all=require_all)
    sources = history_fingerprints(paths, members)
    content = write_stable_groups_of(
        target.directory,
        list(ensemble),
        run_ids=[member.run_id for member in members],
        ensemble_id=paths.ensemble_id,
        spd_run=ensemble_model(paths),
        cut=settings.cut,
        threshold=settings.threshold,
    )
    record_product(target, STABLE_GROUPS, settings.as_json(), sources, files)
    return content


def settings_as_before(paths: EnsemblePaths) -> StableGroupsSettings:
    """What the stable groups were found with, where that is known: it is kept when they are made again."""
    manifest = read_manifest(paths.manifest(STABLE_GROUPS))
    if manifest is None:
        return StableGroupsSettings()
    try:
        return StableGroupsSettings(consensus.Cut(**manifest.settings["cut"]), float(manifest.settings["threshold"]))
    except (KeyError, TypeError, ValueError):
        return StableGroupsSettings()


def write_stable_groups_of(
    directory: Path,
    histories: list[MergeHistory],
    *,
    run_ids: list[str] | None = None,
    ensemble_id: str | None = None,
    spd_run: str | None = None,
    cut: consensus.Cut | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> consensus.StableGroups:
    """The same for histories that are at hand, into any directory."""
    paths = EnsemblePaths.at(directory)
    cuts = consensus.cut_members(histories, cut or consensus.Cut())
    found = consensus.find_consensus(cuts, threshold, run_ids)
    agreement = consensus.agreement_along_iterations(histories)
    consensus.write_stable_groups(paths.stable_groups, found, agreement, ensemble_id)
    content = consensus.read_stable_groups(paths.stable_groups)
    consensus.write_mapping(paths.consensus_mapping, found, ensemble_id=ensemble_id, spd_run=spd_run)
    write_csv(paths.stable_groups_table, consensus.to_dataframe(content))
    with best_effort("the figures of the stable groups"):
        _save_figures(paths.plots, content, found)
    return content


def track_stable_groups(paths: EnsemblePaths) -> None:
    """Send them to W&B, if the ensemble's config names a project."""
    config = stored_run_config(paths)
    if config is not None:
        track_ensemble(paths, config)


def stable_groups_are_current(paths: EnsemblePaths) -> bool:
    """Whether the stable groups and what belongs to them are whole, and of the members that are finished now."""
    return product_state(paths, STABLE_GROUPS) == "current"


def _files(paths: EnsemblePaths) -> list[Path]:
    figures = [paths.plots / name for name in FIGURES]
    return [paths.stable_groups, paths.stable_groups_table, paths.consensus_mapping, *figures]


def _save_figures(directory: Path, content: consensus.StableGroups, found: consensus.Consensus) -> None:
    from spd.clustering.plotting import coassociation, stability

    stability.save_stability_figure(directory / FIGURES[0], content)
    table = (found.coassociation, found.consensus, found.stable, found.labels)
    views = [coassociation.overview(*table), coassociation.zoom(*table, found.consensus_stats.mean)]
    coassociation.save_coassociation_figure(directory / FIGURES[1], [view for view in views if view is not None])
