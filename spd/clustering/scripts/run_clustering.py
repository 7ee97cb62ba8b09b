"""One clustering run: harvest memberships, merge, save, plot.

A run of its own gets a new id. As a member of an ensemble (`--pipeline-run-id`) it takes the id that is registered
under its index, or registers the next free index; it then uses dataset_seed + index and seed + index, and what an
earlier, interrupted call left is taken up.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.scripts._command import add_override_flags, given_flags, late_names, make_parser, run_command
from spd.errors import ConfigError

if TYPE_CHECKING:
    from spd.clustering.pipeline.member import run_clustering as run_clustering
    from spd.clustering.pipeline.member import run_member as run_member

__getattr__ = late_names(
    __name__, run_clustering="spd.clustering.pipeline.member", run_member="spd.clustering.pipeline.member"
)


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.run_clustering")
    parser.add_argument("--config", required=True, type=Path, help="config of the run (.json, .yaml)")
    parser.add_argument("--pipeline-run-id", metavar="ID", help="the ensemble that the run is a member of")
    parser.add_argument("--idx-in-ensemble", type=int, metavar="I", help="the member's index in the ensemble")
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="one run by all processes that torchrun or srun has started: they merge together, the first does the rest",
    )
    add_override_flags(parser)
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig

    config = ClusteringRunConfig.from_file(arguments.config)
    config = config.replaced(**given_flags(arguments, "wandb_project", "wandb_entity", "dataset_streaming"))
    ensemble_id = config.ensemble_id if arguments.pipeline_run_id is None else arguments.pipeline_run_id
    if arguments.idx_in_ensemble is not None and ensemble_id is None:
        raise ConfigError("--idx-in-ensemble is an index in an ensemble: give --pipeline-run-id, too")
    from spd.clustering.pipeline.member import run_clustering, run_member
    from spd.clustering.storage import RunPaths

    team = None
    if arguments.distributed:
        from spd.clustering.pipeline.rank_team import join_team

        team = join_team(config=(config.model_dump(mode="json"), ensemble_id, arguments.idx_in_ensemble))
        if not team.is_first:
            team.assist()
            return
    if ensemble_id is None:
        paths = run_clustering(config, RunPaths.new_id(), team=team)
    else:
        paths = run_member(config, ensemble_id, arguments.idx_in_ensemble, team=team)
    print(f"clustering run {paths.run_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
