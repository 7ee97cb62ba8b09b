"""Harvest once: take the memberships of a run's components from its model, and save them for any number of merges.

Prints the id of the harvest. `run_merge --harvest ID` merges it; as the `activations_path` of a pipeline's config, its
directory is shared by all members, each with a bootstrap of the samples of its own.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.scripts._command import given_flags, make_parser, run_command
from spd.clustering.storage import HarvestPaths, new_harvest_id

logger = logging.getLogger("spd")


def run_harvest(config: ClusteringRunConfig, harvest_id: str) -> HarvestPaths:
    """Harvest and save.

    Raises:
        SPDError: something the user gave cannot be used, or a file cannot be written.
    """
    from spd.clustering.harvest.progress import HarvestProgress
    from spd.clustering.harvest.saved import save_harvest
    from spd.clustering.pipeline.sources import open_source
    from spd.clustering.pipeline.status_line import StatusLine

    paths = HarvestPaths(harvest_id)
    source = open_source(config)
    source.load(config)
    progress = HarvestProgress(source.expected_samples(config))
    started = time.monotonic()
    with StatusLine() as status:
        memberships = source.memberships(config, lambda n_done: status.show(progress.describe(n_done)))
    seconds = time.monotonic() - started
    save_harvest(paths, config, memberships, seconds)
    logger.info(
        "%d samples in %.1f s (%.0f/s); %d components alive (%d dead), %.1f active on a sample",
        memberships.n_samples,
        seconds,
        memberships.n_samples / max(seconds, 1e-9),
        memberships.n_components,
        len(memberships.dead_labels),
        memberships.nnz / memberships.n_samples,
    )
    return paths


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.run_harvest")
    parser.add_argument("--config", required=True, type=Path, help="config of a clustering run (.json, .yaml)")
    parser.add_argument(
        "--dataset-streaming",
        action="store_true",
        default=argparse.SUPPRESS,
        help="stream the dataset instead of loading it",
    )
    return parser


def _body(arguments: argparse.Namespace) -> None:
    config = ClusteringRunConfig.from_file(arguments.config)
    paths = run_harvest(config.replaced(**given_flags(arguments, "dataset_streaming")), new_harvest_id())
    print(f"harvest {paths.harvest_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
