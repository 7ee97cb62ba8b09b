"""One clustering run from its config to its figures, in this process: harvest memberships, merge, save, plot."""

import logging

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_member, register_clustering_run
from spd.clustering.execution.slurm import own_task_id
from spd.clustering.execution.stamp import ExecutionStamp
from spd.clustering.pipeline.compile_ahead import compiling_ahead
from spd.clustering.pipeline.config import member_config
from spd.clustering.pipeline.log_file import log_to_file
from spd.clustering.pipeline.member_merge import MergePlace, merge_run
from spd.clustering.pipeline.members import source_fingerprints
from spd.clustering.pipeline.rank_team import RankTeam
from spd.clustering.pipeline.run_record import begin_record, is_whole
from spd.clustering.pipeline.run_state import clear_half_written, has_saved_memberships, recorded, working_on
from spd.clustering.pipeline.sources import MembershipSource, Progress, open_source
from spd.clustering.storage import EnsemblePaths, RunPaths

logger = logging.getLogger(__name__)


def run_clustering(
    config: ClusteringRunConfig,
    run_id: str,
    *,
    idx: int | None = None,
    source: MembershipSource | None = None,
    team: RankTeam | None = None,
) -> RunPaths:
    """Harvest, merge, save and plot one run, all in this process; what an earlier call left is taken up.

    Args:
        config: of this very run: a member's seeds are already its own.
        idx: the member's index in the ensemble `config.ensemble_id`.
        source: where the memberships come from; None: the config's model or activations.
        team: the ranks that merge with this one, which is the first of them.

    Raises:
        SPDError: something the user gave cannot be used.
    """
    paths = RunPaths(run_id)
    if source is None:
        source = open_source(config)
        config = source.run_config(config)
    if team is not None:
        team.announce(run_id, config)
    place = MergePlace(idx) if team is None else team.place(idx)
    if is_whole(paths, config, source_fingerprints(source)):
        logger.info("%s is finished already", paths.directory)
        if team is not None:
            team.start_merge(is_wanted=False)
        return paths
    log_to_file(paths.log)
    with compiling_ahead(config):
        with place.ranks.busy():
            harvest_run(paths, config, source)
        is_merged = paths.history.is_file()
        if team is not None:
            team.start_merge(is_wanted=not is_merged)
        merge_run(paths, config, place)
    if team is not None and not is_merged:
        logger.info("%s", team.communication())
    return paths


def run_member(
    config: ClusteringRunConfig,
    ensemble_id: str,
    idx: int | None,
    *,
    source: MembershipSource | None = None,
    team: RankTeam | None = None,
) -> RunPaths:
    """Run a member of an ensemble under its registered id, and record in the registry how it goes.

    Args:
        config: the ensemble's; the member's seeds are derived here.
        idx: None: the next free one. One that is not registered becomes the next free one, too.
        source, team: see run_clustering.

    Raises:
        SPDError: something the user gave cannot be used; recorded as the member's error.
    """
    EnsemblePaths(ensemble_id)
    member = None if idx is None else get_member(ensemble_id, idx)
    if member is not None:
        idx, run_id = member.idx, member.run_id
    else:
        run_id = RunPaths.new_id()
        given, idx = idx, register_clustering_run(ensemble_id, run_id)
        if given not in (None, idx):
            logger.warning(
                "index %s of %s is not registered: registered as the next free one, %d", given, ensemble_id, idx
            )
    config = member_config(config, ensemble_id, idx)
    with recorded(ensemble_id, idx, job_id=own_task_id()):
        return run_clustering(config, run_id, idx=idx, source=source, team=team)


def harvest_run(
    paths: RunPaths,
    config: ClusteringRunConfig,
    source: MembershipSource,
    *,
    progress: Progress | None = None,
    snapshot_branch: str | None = None,
) -> None:
    """Write a run's config, record, stamp and memberships; what an earlier call left of them is used.

    Raises:
        ConfigError: what an earlier call left is of another config or other data.
        SPDError: the memberships cannot be made; a file cannot be written; another process works on this run.
    """
    inputs = source_fingerprints(source)
    with working_on(paths):
        if is_whole(paths, config, inputs):
            return
        clear_half_written(paths)
        config.to_file(paths.config)
        begin_record(paths, config, inputs)
        ExecutionStamp.create(paths.run_id, snapshot_branch=snapshot_branch).save(paths.stamp)
        if not has_saved_memberships(paths):
            _save_memberships(paths, config, source, progress)


def _save_memberships(
    paths: RunPaths, config: ClusteringRunConfig, source: MembershipSource, progress: Progress | None
) -> None:
    """Keep what a run starts from: by name where it is on disk already, else a copy."""
    if paths.checkpoint_memberships.is_file():  # of an older version, and cannot be read
        paths.checkpoint_memberships.unlink()
    drawn = source.drawn_from(config)
    if drawn is None:
        source.save(config, paths.checkpoint_memberships, progress)
    else:
        drawn.write(paths)
