"""The stable groups of an ensemble: which groups its members agree on, and how firmly.

Writes stable_groups.json, stable_groups.csv, consensus_mapping.json, plots/stability.png and plots/coassociation.png,
and prints a summary.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spd.clustering.scripts._command import make_parser, run_command
from spd.clustering.storage import EnsemblePaths

if TYPE_CHECKING:
    from spd.clustering.consensus import Consensus, Cut
    from spd.clustering.merge_history import MergeHistory

logger = logging.getLogger("spd")

DEFAULT_THRESHOLD = 0.9


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.calc_consensus")
    parser.add_argument("--pipeline-run-id", required=True, metavar="ID", help="the ensemble")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--iteration", type=int, metavar="I", help="cut all members after merge I (negative: from the end)"
    )
    where.add_argument("--n-groups", type=int, metavar="K", help="cut all members at K groups")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="T",
        help=f"least mean co-association inside a stable group, above 0.5 (default {DEFAULT_THRESHOLD})",
    )
    parser.add_argument(
        "--require-all", action="store_true", help="fail unless all members are finished; default: two are enough"
    )
    return parser


def write_consensus(
    paths: EnsemblePaths,
    *,
    cut: "Cut | None" = None,
    threshold: float = DEFAULT_THRESHOLD,
    require_all: bool = False,
) -> dict[str, Any]:
    """Find the stable groups of an ensemble's finished members and write all files.

    Args:
        cut: where to cut the members; None: each at its own MDL minimum.
        threshold: of the stable groups.

    Returns:
        The content of stable_groups.json.

    Raises:
        SPDError: fewer than two finished members, a history that cannot be read or cut, a file that cannot be written.
    """
    from spd.clustering.pipeline.comparison import read_ensemble

    members, ensemble = read_ensemble(paths, require_all=require_all)
    return write_stable_groups_of(
        paths.directory,
        list(ensemble),
        run_ids=[member.run_id for member in members],
        ensemble_id=paths.ensemble_id,
        spd_run=_spd_run(paths),
        cut=cut,
        threshold=threshold,
    )


def write_stable_groups_of(
    directory: Path,
    histories: "list[MergeHistory]",
    *,
    run_ids: list[str] | None = None,
    ensemble_id: str | None = None,
    spd_run: str | None = None,
    cut: "Cut | None" = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> dict[str, Any]:
    """The same for histories that are at hand, into any directory."""
    from spd.clustering import consensus

    cuts = consensus.cut_members(histories, cut or consensus.Cut())
    found = consensus.find_consensus(cuts, threshold, run_ids)
    agreement = consensus.agreement_along_iterations(histories)
    path = directory / "stable_groups.json"
    consensus.write_stable_groups(path, found, agreement, ensemble_id)
    content = consensus.read_stable_groups(path)
    consensus.write_mapping(directory / "consensus_mapping.json", found, ensemble_id=ensemble_id, spd_run=spd_run)
    _write_table(directory / "stable_groups.csv", content)
    try:
        _write_plots(directory / "plots", content, found)
    except Exception as error:  # pictures are worth a warning, never the answer
        logger.warning("plots were not all made: %s: %s", type(error).__name__, error)
    return content


def _write_table(path: Path, content: dict[str, Any]) -> None:
    from spd.clustering.consensus import to_dataframe
    from spd.files.atomic import atomic_write

    with atomic_write(path) as temporary:
        to_dataframe(content).to_csv(temporary, index=False)


def _write_plots(directory: Path, content: dict[str, Any], found: "Consensus") -> None:
    from spd.clustering.plotting import coassociation, stability

    stability.save_stability_figure(directory / "stability.png", content)
    table = (found.coassociation, found.consensus, found.stable, found.labels)
    views = [coassociation.overview(*table), coassociation.zoom(*table, found.consensus_stats.mean)]
    coassociation.save_coassociation_figure(
        directory / "coassociation.png", [view for view in views if view is not None]
    )


def _spd_run(paths: EnsemblePaths) -> str | None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig

    return ClusteringRunConfig.from_file(paths.clustering_run_config).spd_run


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.consensus import Cut, summary_text
    from spd.clustering.tracking.ensemble import track_ensemble

    paths = EnsemblePaths(arguments.pipeline_run_id)
    content = write_consensus(
        paths,
        cut=Cut(arguments.iteration, arguments.n_groups),
        threshold=arguments.threshold,
        require_all=arguments.require_all,
    )
    track_ensemble(paths, ClusteringRunConfig.from_file(paths.clustering_run_config))
    print(summary_text(content))
    print(f"\n{paths.stable_groups}\n{paths.directory / 'consensus_mapping.json'}\n{paths.plots}/")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
