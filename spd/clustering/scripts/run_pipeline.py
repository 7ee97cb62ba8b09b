"""An ensemble of clustering runs, their distances and stable groups: on this machine, or as SLURM jobs.

spd-clustering --config spd/clustering/configs/pipeline_example.yaml --local
spd-clustering --status e-0123abcd
spd-clustering --resume e-0123abcd --local
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.scripts._command import add_override_flags, given_flags, late_names, make_parser, run_command
from spd.errors import ConfigError

if TYPE_CHECKING:
    from spd.clustering.pipeline.config import ClusteringPipelineConfig as ClusteringPipelineConfig
    from spd.clustering.pipeline.ensemble import Pipeline
    from spd.clustering.pipeline.sources import MembershipSource

logger = logging.getLogger(__name__)

# The class is a public name of this module. Imported at the top it would cost --help 0.3 of its 0.4 s (pydantic).
__getattr__ = late_names(__name__, ClusteringPipelineConfig="spd.clustering.pipeline.config")


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "spd-clustering")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="config of the pipeline (.yaml, .json): start a new ensemble")
    what.add_argument("--resume", metavar="ID", help="do what is missing or failed of this ensemble")
    what.add_argument("--status", metavar="ID", help="show the members of this ensemble and what exists")
    parser.add_argument("--local", action="store_true", help="run on this machine instead of submitting to SLURM")
    parser.add_argument("--dry-run", action="store_true", help="show what would be run, and run or submit nothing")
    parser.add_argument("--n-runs", type=int, default=argparse.SUPPRESS, metavar="N", help="number of members")
    parser.add_argument(
        "--distances-methods",
        type=lambda text: [name.strip() for name in text.split(",")],
        default=argparse.SUPPRESS,
        metavar="A,B",
        help="how members are compared",
    )
    add_override_flags(parser)
    local = parser.add_argument_group("with --local")
    local.add_argument("--local-clustering-parallel", action="store_true", help="members side by side")
    local.add_argument("--local-calc-distances-parallel", action="store_true", help="distance methods side by side")
    local.add_argument(
        "--track-resources-calc-distances",
        action="store_true",
        help="print wall time, CPU time and peak memory of each distance job",
    )
    return parser


def _body(arguments: argparse.Namespace) -> None:
    if arguments.status is not None:
        _show_status(arguments.status)
    elif arguments.resume is not None:
        _resume(arguments)
    else:
        _start(arguments)


def _start(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline import ensemble

    names = ("n_runs", "distances_methods", "wandb_project", "wandb_entity")
    config = ensemble.read_pipeline_config(arguments.config, given_flags(arguments, *names))
    run_config = ensemble.effective_run_config(config, given_flags(arguments, "dataset_streaming"))
    from spd.clustering.pipeline.sources import open_source  # numba and scipy: not for an error in a config

    source = open_source(run_config)
    run_config = source.run_config(run_config)
    from spd.clustering.pipeline.shared_harvest import check_can_share

    check_can_share(config, run_config, source)
    if arguments.dry_run:
        from spd.clustering.pipeline.plan import describe_plan

        is_parallel = arguments.local_clustering_parallel
        print(describe_plan(config, run_config, source, local=arguments.local, parallel=is_parallel))
        return
    ensemble.check_output_directory()
    if not arguments.local:
        from spd.clustering.execution.slurm import check_slurm

        check_slurm()
        _submit(ensemble.create_pipeline(config, run_config), source, arguments)
        return
    from spd.clustering.pipeline.compile_ahead import compiling_ahead

    with compiling_ahead(run_config, config.distances_methods):
        if config.harvest_tasks is None:  # else each task loads the model, and this process needs none
            source.load(run_config)
        _run_here(ensemble.create_pipeline(config, run_config), source, arguments)


def _resume(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.ensemble import open_pipeline

    fixed = given_flags(arguments, "n_runs", "wandb_project", "wandb_entity", "dataset_streaming")
    if fixed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise ConfigError(f"--resume goes on with the config that the ensemble was started with: leave out {names}")
    pipeline = open_pipeline(arguments.resume, given_flags(arguments, "distances_methods"))
    if arguments.dry_run:
        _show_status(arguments.resume)
        return
    from spd.clustering.execution.slurm import check_slurm
    from spd.clustering.pipeline.shared_harvest import with_source
    from spd.clustering.pipeline.slurm_jobs import check_no_active_jobs

    if arguments.local:
        check_no_active_jobs(pipeline.paths)
    else:
        check_slurm()
    pipeline, source = (pipeline, None) if pipeline.is_assembled else with_source(pipeline)
    if not arguments.local:
        _submit(pipeline, source, arguments)
        return
    from spd.clustering.pipeline.compile_ahead import compiling_ahead

    with compiling_ahead(pipeline.run_config, pipeline.config.distances_methods):
        _run_here(pipeline, source, arguments)


def _submit(pipeline: "Pipeline", source: "MembershipSource | None", arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.members import source_fingerprints
    from spd.clustering.pipeline.shared_harvest import begin_shared
    from spd.clustering.pipeline.slurm import submit_pipeline

    if source is not None:
        pipeline, source = begin_shared(pipeline, source)
    inputs = None if source is None else source_fingerprints(source)
    submit_pipeline(pipeline, inputs, track_resources=arguments.track_resources_calc_distances)


def _run_here(pipeline: "Pipeline", source: "MembershipSource | None", arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.local import LocalOptions, run_local
    from spd.clustering.pipeline.log_file import log_to_file
    from spd.clustering.pipeline.summary import summary_text
    from spd.errors import MemberFailedError

    log_to_file(pipeline.paths.log)
    n_members = len(pipeline.members())
    logger.info("ensemble %s: %d members in %s", pipeline.paths.ensemble_id, n_members, pipeline.paths.directory)
    options = LocalOptions(
        clustering_parallel=arguments.local_clustering_parallel,
        distances_parallel=arguments.local_calc_distances_parallel,
        track_resources=arguments.track_resources_calc_distances,
    )
    try:
        run_local(pipeline, options, source)
    except MemberFailedError:
        print(summary_text(pipeline.paths))
        raise
    print(summary_text(pipeline.paths))


def _show_status(ensemble_id: str) -> None:
    from spd.clustering.pipeline.slurm_jobs import mark_lost_members
    from spd.clustering.pipeline.summary import summary_text
    from spd.clustering.storage import EnsemblePaths

    paths = EnsemblePaths(ensemble_id)
    mark_lost_members(paths)
    print(summary_text(paths))


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
