"""Merge a harvest: like run_clustering, but from memberships that run_harvest saved.

Without --config the run merges as the harvest's own config says; with it, as that config says. With --pipeline-run-id
the run becomes a member of an ensemble, and its samples are a bootstrap of the harvest's.
"""

import argparse
import sys
from pathlib import Path

from spd.clustering.scripts._command import given_flags, make_parser, none_or_text, run_command
from spd.errors import ConfigError


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.run_merge")
    parser.add_argument("--harvest", required=True, metavar="H", help="id of the harvest, or its directory")
    parser.add_argument("--config", type=Path, help="how to merge (.json, .yaml); the harvest's own where not given")
    parser.add_argument("--seed", type=int, default=argparse.SUPPRESS, metavar="S", help="of the merge sampler")
    parser.add_argument(
        "--dataset-seed", type=int, default=argparse.SUPPRESS, metavar="S", help="of the bootstrap of the samples"
    )
    parser.add_argument("--bootstrap", action="store_true", help="draw the samples again, with replacement")
    parser.add_argument("--pipeline-run-id", metavar="ID", help="the ensemble that the run is a member of")
    parser.add_argument("--idx-in-ensemble", type=int, metavar="I", help="the member's index in the ensemble")
    for name in ("project", "entity"):
        parser.add_argument(
            f"--wandb-{name}", type=none_or_text, default=argparse.SUPPRESS, metavar="X", help=f"the W&B {name}"
        )
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig

    given = None if arguments.config is None else ClusteringRunConfig.from_file(arguments.config)
    if arguments.idx_in_ensemble is not None and arguments.pipeline_run_id is None:
        raise ConfigError("--idx-in-ensemble is an index in an ensemble: give --pipeline-run-id, too")
    from spd.clustering.harvest.saved import SavedHarvest, locate_harvest
    from spd.clustering.pipeline.member import run_clustering, run_member
    from spd.clustering.pipeline.shared_samples import SavedHarvestSource
    from spd.clustering.storage import RunPaths

    harvest = SavedHarvest(locate_harvest(arguments.harvest))
    source = SavedHarvestSource(harvest, bootstrap=arguments.bootstrap)
    changes = given_flags(arguments, "seed", "dataset_seed", "wandb_project", "wandb_entity")
    config = harvest.run_config(given, {"ensemble_id": None, **changes})
    if arguments.pipeline_run_id is None:
        paths = run_clustering(config, RunPaths.new_id(), source=source)
    else:
        paths = run_member(config, arguments.pipeline_run_id, arguments.idx_in_ensemble, source=source)
    print(f"clustering run {paths.run_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
