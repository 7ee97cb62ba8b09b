"""The stable groups of an ensemble as files: stable_groups.json, its table, the mapping of the consensus, figures."""

import logging
from pathlib import Path

from spd.clustering import consensus
from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import read_ensemble
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import EnsemblePaths
from spd.clustering.tracking.ensemble import track_ensemble
from spd.files.csv_table import write_csv

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.9


def write_stable_groups(
    paths: EnsemblePaths,
    *,
    cut: consensus.Cut | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    require_all: bool = False,
) -> consensus.StableGroups:
    """Find the stable groups of an ensemble's finished members and write all files.

    Args:
        cut: where to cut the members; None: each at its own MDL minimum.
        threshold: of the stable groups.

    Returns:
        The content of stable_groups.json.

    Raises:
        SPDError: fewer than two finished members, a history that cannot be read or cut, a file that cannot be written.
    """
    members, ensemble = read_ensemble(paths, require_all=require_all)
    return write_stable_groups_of(
        paths.directory,
        list(ensemble),
        run_ids=[member.run_id for member in members],
        ensemble_id=paths.ensemble_id,
        spd_run=ClusteringRunConfig.from_file(paths.clustering_run_config).spd_run,
        cut=cut,
        threshold=threshold,
    )


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
    track_ensemble(paths, ClusteringRunConfig.from_file(paths.clustering_run_config))


def stable_groups_are_current(paths: EnsemblePaths) -> bool:
    """Whether the stable groups are there and newer than the merge array."""
    try:
        return paths.stable_groups.stat().st_mtime_ns >= paths.merge_array.stat().st_mtime_ns
    except OSError:
        return False


def _save_figures(directory: Path, content: consensus.StableGroups, found: consensus.Consensus) -> None:
    from spd.clustering.plotting import coassociation, stability

    stability.save_stability_figure(directory / "stability.png", content)
    table = (found.coassociation, found.consensus, found.stable, found.labels)
    views = [coassociation.overview(*table), coassociation.zoom(*table, found.consensus_stats.mean)]
    coassociation.save_coassociation_figure(
        directory / "coassociation.png", [view for view in views if view is not None]
    )
