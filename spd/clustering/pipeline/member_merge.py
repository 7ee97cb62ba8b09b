"""From memberships to a finished clustering run: merge, find the groups, save, plot. Torch-free, so that it can run in
a light process.

    checkpoint/memberships -> merge (checkpoint/merge.npz, metrics.jsonl) -> history.zip -> groups.json
        -> plots/, no checkpoint/

What an earlier call left is taken up (run_state says how far a run is).
"""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.memberships import Memberships
from spd.clustering.merge import LogCallback, MergeRunOptions, MergeStep, merge_iteration
from spd.clustering.merge_engine.ranks import ALONE, Ranks
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.drawn import read_memberships
from spd.clustering.pipeline.found_groups import describe_groups_found, save_found_groups
from spd.clustering.pipeline.run_record import complete_record
from spd.clustering.pipeline.run_state import is_finished, working_on
from spd.clustering.pipeline.sources import task_name
from spd.clustering.plotting.figures import save_run_figures
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import RunPaths
from spd.clustering.tracking.observer import RunTracker
from spd.errors import DamagedCheckpointError
from spd.machine import available_cores

logger = logging.getLogger(__name__)

Report = Callable[[str], None]
"""Takes a line of progress every now and then."""

PRELOAD = (
    "spd.clustering.merge",
    "spd.clustering.merge_engine.engine",
    "spd.clustering.groups",
    "spd.clustering.plotting.figures",
)
"""What every member imports: no torch among it."""

_SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True)
class MergePlace:
    """Where in an ensemble, and beside what, a run merges.

    Attributes:
        idx: the member's index in its ensemble; None for a run of its own.
        n_parallel_members: how many such merges share this machine's memory and cores.
        report: takes a line of progress.
        ranks: the processes that merge together.
        n_threads: of this one; None: its part of the cores.
    """

    idx: int | None = None
    n_parallel_members: int = 1
    report: Report | None = None
    ranks: Ranks = ALONE
    n_threads: int | None = None


def merge_run(paths: RunPaths, config: ClusteringRunConfig, place: MergePlace = MergePlace()) -> dict[str, Any]:
    """Merge a run whose memberships are saved, and finish it.

    Returns:
        The history's summary.

    Raises:
        SPDError: memberships cannot be read, or a file cannot be written.
        KeyboardInterrupt: the run was stopped; the merge's checkpoint is saved, the groups are found again.
    """
    with working_on(paths):
        if is_finished(paths):
            return MergeHistory.read(paths.history).summary()
        return _finish_run(paths, config, place).summary()


def _finish_run(paths: RunPaths, config: ClusteringRunConfig, place: MergePlace) -> MergeHistory:
    memberships = read_memberships(paths, check=not paths.history.is_file())
    started = time.monotonic()
    task = None if config.wandb_project is None else task_name(config)
    with RunTracker(paths, config, memberships, idx=place.idx, task=task) as tracker:
        if paths.history.is_file():
            history = MergeHistory.read(paths.history)
        else:
            history = _merge(paths, config, memberships, tracker, place)
            history.save(paths.history)
        _log_result(history, memberships, time.monotonic() - started)
        groups = save_found_groups(
            paths,
            memberships,
            seed=config.seed,
            n_threads=max(1, available_cores() // place.n_parallel_members),
            report=place.report,
        )
        logger.info("%s", describe_groups_found(groups))
        _plot(paths, history, memberships)
        tracker.finished(history, groups)
    complete_record(paths)
    shutil.rmtree(paths.checkpoint, ignore_errors=True)
    return history


def _merge(
    paths: RunPaths, config: ClusteringRunConfig, memberships: Memberships, tracker: RunTracker, place: MergePlace
) -> MergeHistory:
    total = config.merge_config.get_num_iters(memberships.n_components)
    last_report = 0.0

    def observe(step: MergeStep) -> None:
        nonlocal last_report
        tracker(step)
        now = time.monotonic()
        if place.report and now - last_report > _SECONDS_BETWEEN_REPORTS:
            last_report = now
            place.report(f"merge {step.iteration + 1:,} of {total:,}, {step.k_groups:,} groups")

    history = _merged(paths, config, memberships, place, observe, tracker.next_state)
    if not history.is_complete:
        raise KeyboardInterrupt
    return history


def assist_merge(paths: RunPaths, config: ClusteringRunConfig, place: MergePlace) -> None:
    """Merge as one of the ranks that only hold samples: rank 0 does everything else, `merge_run`. When all ranks have
    agreed to stop, rank 0 alone ends as interrupted.

    Raises:
        SPDError: the memberships cannot be read; another rank was lost.
    """
    _merged(paths, config, read_memberships(paths, check=True), place)


def _merged(
    paths: RunPaths,
    config: ClusteringRunConfig,
    memberships: Memberships,
    place: MergePlace,
    observe: LogCallback | None = None,
    next_state: Callable[[int], int] | None = None,
) -> MergeHistory:
    """The history, as far as it came; a damaged checkpoint is put away."""

    def merge() -> MergeHistory:
        return merge_iteration(
            config.merge_config,
            memberships,
            memberships.labels,
            log_callback=observe,
            rng=np.random.default_rng(config.seed),
            run_options=MergeRunOptions(
                config.merge_options,
                checkpoint_path=paths.checkpoint_merge,
                n_parallel_members=place.n_parallel_members,
                n_threads=place.n_threads,
                ranks=place.ranks,
                next_state=next_state,
            ),
        )

    try:
        return merge()
    except DamagedCheckpointError as error:
        if place.ranks.rank == 0:
            logger.warning("the merge starts again: %s", error)
            paths.checkpoint_merge.unlink(missing_ok=True)
        return merge()


def _log_result(history: MergeHistory, memberships: Memberships, seconds: float) -> None:
    logger.info(
        "%d components alive (%d dead) on %d samples; %d merges in %.1f s; %d groups at the MDL minimum after %d",
        memberships.n_components,
        len(memberships.dead_labels),
        memberships.n_samples,
        len(history),
        seconds,
        history.c_components - history.best_n_merges,
        history.best_n_merges,
    )


def _plot(paths: RunPaths, history: MergeHistory, memberships: Memberships) -> None:
    """What cannot be drawn is worth a warning; what cannot be written fails the run, and the next call will do it."""
    with best_effort("the figures of a run"):
        save_run_figures(paths.plots, history, memberships)
