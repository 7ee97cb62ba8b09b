"""Harvest once: take the memberships of a run's components from its model, and save them for any number of merges.

Prints the id of the harvest. `run_merge --harvest ID` merges it; as the `activations_path` of a pipeline's config, its
directory is shared by all members, each with a bootstrap of the samples of its own.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.scripts._command import given_flags, late_names, make_parser, run_command

if TYPE_CHECKING:
    from spd.clustering.pipeline.harvest import run_harvest as run_harvest

__getattr__ = late_names(__name__, run_harvest="spd.clustering.pipeline.harvest")


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
    from spd.clustering.clustering_run_config import ClusteringRunConfig

    config = ClusteringRunConfig.from_file(arguments.config)
    config = config.replaced(**given_flags(arguments, "dataset_streaming"))
    from spd.clustering.pipeline.harvest import run_harvest
    from spd.clustering.storage import HarvestPaths

    paths = run_harvest(config, HarvestPaths.new_id())
    print(f"harvest {paths.harvest_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
