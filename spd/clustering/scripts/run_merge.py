"""Merge a harvest: like run_clustering, but from memberships that run_harvest saved.

Without --config the run merges as the harvest's own config says; with it, as that config says. With --pipeline-run-id
the run becomes a member of an ensemble, and its samples are a bootstrap of the harvest's.

With --distributed the samples are divided over the processes that torchrun or srun has started, on one machine or many;
the result is that of one process:

    torchrun --nproc-per-node 2 -m spd.clustering.scripts.run_merge --harvest H --distributed
    srun --ntasks 8 --kill-on-bad-exit python -m spd.clustering.scripts.run_merge --harvest H --distributed
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
    parser.add_argument("--run-id", metavar="ID", help="take up this run, which was cut off")
    parser.add_argument(
        "--distributed", action="store_true", help="one merge by all processes that torchrun or srun has started"
    )
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
    if arguments.run_id is not None and arguments.pipeline_run_id is not None:
        raise ConfigError("--run-id is of a run of its own: a member of an ensemble is taken up by --idx-in-ensemble")
    from spd.clustering.harvest.saved import SavedHarvest, locate_harvest
    from spd.clustering.pipeline.member import run_clustering, run_member
    from spd.clustering.pipeline.shared_samples import SavedHarvestSource
    from spd.clustering.storage import RunPaths

    harvest = SavedHarvest(locate_harvest(arguments.harvest))
    source = SavedHarvestSource(harvest, bootstrap=arguments.bootstrap)
    changes = given_flags(arguments, "seed", "dataset_seed", "wandb_project", "wandb_entity")
    config = harvest.run_config(given, {"ensemble_id": None, **changes})
    team = None
    if arguments.distributed:
        from spd.clustering.pipeline.rank_team import join_team

        team = join_team(
            config=(config.model_dump(mode="json"), arguments.pipeline_run_id, arguments.idx_in_ensemble),
            harvest=harvest.told(),
            bootstrap=arguments.bootstrap,
        )
        if not team.is_first:
            team.assist()
            return
    if arguments.pipeline_run_id is None:
        run_id = RunPaths.new_id() if arguments.run_id is None else RunPaths(arguments.run_id).run_id
        paths = run_clustering(config, run_id, source=source, team=team)
    else:
        paths = run_member(config, arguments.pipeline_run_id, arguments.idx_in_ensemble, source=source, team=team)
    print(f"clustering run {paths.run_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
