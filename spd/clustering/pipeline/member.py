"""From memberships to a finished clustering run: merge, save, plot. Torch-free, so that it can run in a light process.

    checkpoint/memberships.npz -> merge (checkpoint/merge.npz, metrics.jsonl) -> history.zip -> plots/, no checkpoint/

A run is finished when its history is there and its checkpoint is gone; until then a later call takes up where the
last one was cut off.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.storage import RunPaths
from spd.clustering.tracking.observer import RunTracker
from spd.errors import DamagedFileError, SPDError

if TYPE_CHECKING:
    from spd.clustering.memberships import Memberships
    from spd.clustering.merge import MergeStep
    from spd.clustering.merge_history import MergeHistory

logger = logging.getLogger("spd")

PRELOAD = ("spd.clustering.merge", "spd.clustering.merge_engine.engine", "spd.clustering.plotting.figures")
"""What every member imports: no torch among it."""

SECONDS_FOR_THE_LOCK = 60.0
"""A process whose pipeline was killed stops well within this time."""
_SECONDS_BETWEEN_REPORTS = 0.2


def is_finished(paths: RunPaths) -> bool:
    """Whether nothing is left to do for this run."""
    return paths.history.is_file() and not paths.checkpoint.exists()


@contextlib.contextmanager
def working_on(paths: RunPaths) -> Iterator[None]:
    """Keep other processes off this run; one that was killed has let go of it.

    Raises:
        SPDError: another process works on it and goes on doing so, or the lock cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        paths.lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(paths.lock, timeout=SECONDS_FOR_THE_LOCK):
            yield
    except Timeout as error:
        raise SPDError(f"{paths.directory}: another process works on this run, and holds {paths.lock}") from error


def saved_memberships(paths: RunPaths) -> bool:
    """Whether an earlier call got as far as memberships that can be read."""
    from spd.clustering.memberships import Memberships

    try:
        Memberships.load(paths.checkpoint_memberships)
    except SPDError:
        return False
    return True


def clear_half_written(paths: RunPaths) -> None:
    """Remove temporary files of a process that was killed."""
    for directory in (paths.directory, paths.checkpoint, paths.plots):
        for leftover in directory.glob(".*.tmp*"):
            leftover.unlink(missing_ok=True)


def merge_run(
    paths: RunPaths,
    config: ClusteringRunConfig,
    *,
    idx: int | None = None,
    n_parallel_members: int = 1,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Merge a run whose memberships are saved, and finish it.

    Args:
        idx: the member's index in its ensemble.
        n_parallel_members: how many such merges share this machine's memory and cores.
        report: takes a line of progress every now and then.

    Returns:
        The history's summary.

    Raises:
        SPDError: memberships cannot be read, or a file cannot be written.
        KeyboardInterrupt: the merge was stopped; its checkpoint is saved.
    """
    from spd.clustering.merge_history import MergeHistory

    with working_on(paths):
        if is_finished(paths):
            return MergeHistory.read(paths.history).summary()
        return _finish_run(paths, config, idx, n_parallel_members, report).summary()


def _finish_run(
    paths: RunPaths,
    config: ClusteringRunConfig,
    idx: int | None,
    n_parallel_members: int,
    report: Callable[[str], None] | None,
) -> "MergeHistory":
    from spd.clustering.memberships import Memberships
    from spd.clustering.merge_history import MergeHistory

    memberships = Memberships.load(paths.checkpoint_memberships)
    started = time.monotonic()
    with RunTracker(paths, config, memberships, idx=idx, task=_task_name(config)) as tracker:
        if paths.history.is_file():
            history = MergeHistory.read(paths.history)
        else:
            history = _merge(paths, config, memberships, tracker, n_parallel_members, report)
            history.save(paths.history)
        _tell(history, memberships, time.monotonic() - started)
        _plot(paths, history, memberships)
        tracker.finished(history)
    shutil.rmtree(paths.checkpoint, ignore_errors=True)
    return history


def _task_name(config: ClusteringRunConfig) -> str | None:
    """The model's task, which only W&B is told."""
    if config.wandb_project is None or config.model_path is None:
        return None
    from spd.models.run_info import SPDRunInfo

    try:
        return SPDRunInfo.from_path(config.model_path).config.task_config.task_name
    except SPDError:
        return None


def _merge(
    paths: RunPaths,
    config: ClusteringRunConfig,
    memberships: "Memberships",
    tracker: RunTracker,
    n_parallel_members: int,
    report: Callable[[str], None] | None,
) -> "MergeHistory":
    import numpy as np

    from spd.clustering.merge import MergeRunOptions, merge_iteration

    total = config.merge_config.get_num_iters(memberships.n_components)
    last_report = 0.0

    def observe(step: "MergeStep") -> None:
        nonlocal last_report
        tracker(step)
        now = time.monotonic()
        if report and now - last_report > _SECONDS_BETWEEN_REPORTS:
            last_report = now
            report(f"merge {step.iteration + 1:,} of {total:,}, {step.k_groups:,} groups")

    def merge() -> "MergeHistory":
        return merge_iteration(
            config.merge_config,
            memberships,
            memberships.labels,
            log_callback=observe,
            rng=np.random.default_rng(config.seed),
            run_options=MergeRunOptions(
                config.merge_options,
                checkpoint_path=paths.checkpoint_merge,
                n_parallel_members=n_parallel_members,
                next_state=tracker.next_state,
            ),
        )

    try:
        history = merge()
    except DamagedFileError as error:
        logger.warning("the merge starts anew: %s", error)
        paths.checkpoint_merge.unlink(missing_ok=True)
        history = merge()
    if not history.is_complete:
        raise KeyboardInterrupt
    return history


def _tell(history: "MergeHistory", memberships: "Memberships", seconds: float) -> None:
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


def cut_too_early(history: "MergeHistory") -> bool:
    """Whether the least MDL is at the last iteration although more merges were possible."""
    return 0 < history.best_n_merges == len(history) < history.c_components - 1


def _plot(paths: RunPaths, history: "MergeHistory", memberships: "Memberships") -> None:
    """A picture that cannot be drawn is worth a warning, not the run; one that cannot be written fails it: the next
    call will do it."""
    from spd.clustering.plotting.figures import save_run_figures

    try:
        save_run_figures(paths.plots, history, memberships)
    except SPDError:
        raise
    except Exception as error:
        logger.warning("plots were not all made: %s: %s", type(error).__name__, error)
