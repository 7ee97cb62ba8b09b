"""What --dry-run shows: the scripts that would be submitted, and what the ensemble will take."""

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.estimate import describe_estimate
from spd.clustering.pipeline.local import n_workers
from spd.clustering.pipeline.slurm import describe_submission
from spd.clustering.pipeline.sources import MembershipSource


def describe_plan(
    config: ClusteringPipelineConfig,
    run_config: ClusteringRunConfig,
    source: MembershipSource,
    *,
    local: bool,
    parallel: bool,
) -> str:
    """All of it, ready to print.

    Args:
        local: on this machine; otherwise by SLURM.
        parallel: on this machine, members side by side.

    Raises:
        SPDError: the model or the data cannot be used.
    """
    blocks = [] if local else [f"{describe_submission(config)}\n"]
    workers = n_workers(config.n_workers, parallel) if local else config.slurm_max_concurrent or config.n_runs
    blocks += [describe_estimate(config, run_config, source, min(workers, config.n_runs), local=local)]
    return "\n".join([*blocks, "dry run: nothing was run, submitted or written"])
