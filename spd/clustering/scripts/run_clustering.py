"""One clustering run: harvest memberships, merge, save, plot.

A run of its own gets a new id. As a member of an ensemble (`--pipeline-run-id`) it takes the id that is registered
under its index, or registers the next free index; it then uses dataset_seed + index and seed + index, and what an
earlier, interrupted call left is taken up.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_member, register_clustering_run, set_member_state
from spd.clustering.execution.slurm import own_task_id
from spd.clustering.pipeline.config import member_config
from spd.clustering.scripts._command import (
    add_override_flags,
    describe_error,
    given_flags,
    log_to_file,
    make_parser,
    run_command,
)
from spd.clustering.storage import EnsemblePaths, RunPaths, new_run_id
from spd.errors import ConfigError

if TYPE_CHECKING:
    from spd.clustering.pipeline.sources import MembershipSource

logger = logging.getLogger("spd")


def run_clustering(
    config: ClusteringRunConfig, run_id: str, *, idx: int | None = None, source: "MembershipSource | None" = None
) -> RunPaths:
    """Harvest, merge, save and plot one run, all in this process; what an earlier call left is taken up.

    Args:
        config: of this very run: a member's seeds are already its own.
        idx: the member's index in the ensemble `config.ensemble_id`.
        source: where the memberships come from; None: the config's model or activations.

    Raises:
        SPDError: something the user gave cannot be used.
    """
    from spd.clustering.pipeline.member import is_finished, merge_run
    from spd.clustering.pipeline.sources import harvest_run, open_source

    paths = RunPaths(run_id)
    if is_finished(paths):
        logger.info("%s is finished already", paths.directory)
        return paths
    source = source or open_source(config)
    log_to_file(paths.log)
    harvest_run(paths, config, source.memberships)
    merge_run(paths, config, idx=idx)
    return paths


def run_member(
    config: ClusteringRunConfig, ensemble_id: str, idx: int | None, *, source: "MembershipSource | None" = None
) -> RunPaths:
    """Run a member of an ensemble under its registered id, and record in the registry how it goes.

    Args:
        config: the ensemble's; the member's seeds are derived here.
        idx: None: the next free one. One that is not registered becomes the next free one, too.
        source: see run_clustering.

    Raises:
        SPDError: something the user gave cannot be used; recorded as the member's error.
    """
    EnsemblePaths(ensemble_id)
    member = None if idx is None else get_member(ensemble_id, idx)
    if member is not None:
        idx, run_id = member.idx, member.run_id
    else:
        run_id = new_run_id()
        given, idx = idx, register_clustering_run(ensemble_id, run_id)
        if given not in (None, idx):
            logger.warning(
                "index %s of %s is not registered: registered as the next free one, %d", given, ensemble_id, idx
            )
    set_member_state(ensemble_id, idx, "running", job_id=own_task_id())
    try:
        paths = run_clustering(member_config(config, ensemble_id, idx), run_id, idx=idx, source=source)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        set_member_state(ensemble_id, idx, "pending" if stopped else "failed", error=describe_error(error))
        raise
    set_member_state(ensemble_id, idx, "done")
    return paths


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.run_clustering")
    parser.add_argument("--config", required=True, type=Path, help="config of the run (.json, .yaml)")
    parser.add_argument("--pipeline-run-id", metavar="ID", help="the ensemble that the run is a member of")
    parser.add_argument("--idx-in-ensemble", type=int, metavar="I", help="the member's index in the ensemble")
    add_override_flags(parser)
    return parser


def _body(arguments: argparse.Namespace) -> None:
    config = ClusteringRunConfig.from_file(arguments.config)
    config = config.replaced(**given_flags(arguments, "wandb_project", "wandb_entity", "dataset_streaming"))
    ensemble_id = arguments.pipeline_run_id or config.ensemble_id
    if arguments.idx_in_ensemble is not None and ensemble_id is None:
        raise ConfigError("--idx-in-ensemble is an index in an ensemble: give --pipeline-run-id, too")
    if ensemble_id is None:
        paths = run_clustering(config, new_run_id())
    else:
        paths = run_member(config, ensemble_id, arguments.idx_in_ensemble)
    print(f"clustering run {paths.run_id}: {paths.directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
