"""Harvest once: take the memberships of a run's components from its model, and save them for any number of merges.

Prints the id of the harvest. `run_merge --harvest ID` merges it; as the `activations_path` of a pipeline's config, its
directory is shared by all members, each with a bootstrap of the samples of its own.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.scripts._command import given_flags, late_names, make_parser, run_command
from spd.errors import ConfigError

if TYPE_CHECKING:
    from spd.clustering.pipeline.harvest import run_harvest as run_harvest

__getattr__ = late_names(__name__, run_harvest="spd.clustering.pipeline.harvest")


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.run_harvest")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="config of a clustering run (.json, .yaml)")
    what.add_argument(
        "--check", metavar="H", help="compare the files of a harvest (id or directory) with their checksums"
    )
    what.add_argument("--pipeline-run-id", metavar="E", help="an ensemble with harvest_tasks: make the part --part")
    parser.add_argument("--part", type=int, metavar="I", help="with --pipeline-run-id: the number of the part, from 0")
    parser.add_argument(
        "--dataset-streaming",
        action="store_true",
        default=argparse.SUPPRESS,
        help="stream the dataset instead of loading it",
    )
    return parser


def _body(arguments: argparse.Namespace) -> None:
    if (arguments.part is None) != (arguments.pipeline_run_id is None):
        raise ConfigError("--part and --pipeline-run-id: give both, or neither")
    if arguments.check is not None:
        _check(arguments.check)
    elif arguments.part is not None:
        _make_part(arguments.pipeline_run_id, arguments.part)
    else:
        _harvest(arguments)


def _check(harvest: str) -> None:
    from spd.clustering.harvest.saved import SavedHarvest, locate_harvest

    paths = locate_harvest(harvest)
    SavedHarvest(paths).check_contents()
    print(f"harvest {paths.harvest_id}: all files are what was written")


def _make_part(ensemble_id: str, part: int) -> None:
    from spd.clustering.pipeline.shared_harvest import run_part
    from spd.clustering.storage import EnsemblePaths

    paths = run_part(EnsemblePaths(ensemble_id), part)
    print(f"part {part} of harvest {paths.harvest_id}: {paths.directory}")


def _harvest(arguments: argparse.Namespace) -> None:
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
