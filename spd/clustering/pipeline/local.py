"""The whole pipeline on this machine.

1. This process loads the model once and harvests each member's batch, one after the other.
2. Each member merges and plots in a light process of its own, as many at a time as asked for; none of them imports
   torch, and the modules that they need are imported once.
3. Each distance method runs in such a process, too, then the consensus.
4. A member that fails is told at the end; the others are finished and compared.
"""

import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import Member, MemberState, set_member_state
from spd.clustering.execution.local import LocalPool, Outcome, Task
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.pipeline.config import member_config
from spd.clustering.pipeline.ensemble import Pipeline
from spd.clustering.pipeline.member import PRELOAD, is_finished, merge_run
from spd.clustering.pipeline.sources import MembershipSource, harvest_run
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.scripts._command import describe_error
from spd.clustering.scripts.calc_distances import resources_line
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import MemberFailedError, SPDError

logger = logging.getLogger("spd")

Report = Callable[[str], None]


@dataclass(frozen=True)
class LocalOptions:
    """How to use this machine."""

    clustering_parallel: bool = False
    distances_parallel: bool = False
    track_resources: bool = False


def run_local(pipeline: Pipeline, options: LocalOptions, source: MembershipSource) -> None:
    """Do what is missing of the ensemble: members, distances, consensus.

    Args:
        source: of the members' memberships, so that a model that cannot be loaded is known before there is an ensemble.

    Raises:
        MemberFailedError: a member or a distance failed, after everything else was done; says which and why.
    """
    with StatusLine() as status:
        failures = _run_members(pipeline, options, source, status)
        done = [member for member in pipeline.members() if is_finished(pipeline.paths.run(member.run_id))]
        _check_enough(pipeline, failures, len(done))
        failures += _run_distances(pipeline, options, status)
    if failures:
        raise MemberFailedError(_describe_failures(pipeline, failures, len(done)))


def n_workers(pipeline: Pipeline, parallel: bool) -> int:
    """How many processes to run at a time."""
    return (pipeline.config.n_workers or available_cores()) if parallel else 1


def available_cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_members(
    pipeline: Pipeline, options: LocalOptions, source: MembershipSource, status: StatusLine
) -> list[tuple[str, str]]:
    members = pipeline.members()
    todo = [member for member in members if not is_finished(pipeline.paths.run(member.run_id))]
    for member in members:
        if member not in todo and member.state != "done":
            set_member_state(pipeline.paths.ensemble_id, member.idx, "done")
    if not todo:
        logger.info("all %d members are finished already", len(members))
        return []
    workers = min(n_workers(pipeline, options.clustering_parallel), len(todo))
    if len(todo) < len(members):
        logger.info("%d of %d members are finished already", len(members) - len(todo), len(members))
    with LocalPool(workers, PRELOAD) as pool:
        return _Members(pipeline, pool, source, status, workers).run(todo)


class _Members:
    """Harvests in this process while earlier members merge in others."""

    def __init__(
        self, pipeline: Pipeline, pool: LocalPool, source: MembershipSource, status: StatusLine, workers: int
    ) -> None:
        self._pipeline = pipeline
        self._pool = pool
        self._source = source
        self._status = status
        self._workers = workers
        self._by_name: dict[str, Member] = {}
        self._failures: list[tuple[str, str]] = []
        self._states: dict[int, MemberState] = {}
        self._n_ended = 0

    def run(self, todo: list[Member]) -> list[tuple[str, str]]:
        """(member, reason) of those that failed."""
        self._by_name = {f"member {member.idx}": member for member in todo}
        try:
            for name, member in self._by_name.items():
                self._start(name, member)
            while self._pool.n_unfinished:
                self._take(self._pool.poll(0.5))
                self._show("")
        except BaseException:
            self._pool.stop()
            for member in self._by_name.values():
                if self._states.get(member.idx) == "running":
                    self._set(member, "pending")
            raise
        return self._failures

    def _start(self, name: str, member: Member) -> None:
        paths = self._pipeline.paths.run(member.run_id)
        config = member_config(self._pipeline.run_config, self._pipeline.paths.ensemble_id, member.idx)
        try:
            self._harvest(name, paths, config)
        except (SPDError, OSError, MemoryError, RuntimeError) as error:
            self._fail(name, describe_error(error))
            return
        self._set(member, "running")
        self._pool.submit(Task(name, merge_member, (paths, config, member.idx, self._workers)))

    def _harvest(self, name: str, paths: RunPaths, config: ClusteringRunConfig) -> None:
        rate = HarvestProgress(self._source.expected_samples(config))

        def progress(n_done: int) -> None:
            self._take(self._pool.poll())
            self._show(f"{name}: harvested {rate.describe(n_done)}")

        make = functools.partial(self._source.memberships, progress=progress)
        harvest_run(paths, config, make, snapshot_branch=self._pipeline.snapshot_branch)

    def _take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            member = self._by_name[outcome.name]
            if outcome.error is None:
                self._n_ended += 1
                self._set(member, "done")
                logger.debug("%s", resources_line(outcome.name, outcome.wall_s, outcome.cpu_s, outcome.peak_mib))
            else:
                self._fail(outcome.name, outcome.error)
                logger.debug("%s", outcome.trace)

    def _fail(self, name: str, reason: str) -> None:
        self._n_ended += 1
        self._failures.append((name, reason))
        member = self._by_name[name]
        self._set(member, "failed", reason)
        logger.error("%s (%s) failed: %s", name, member.run_id, reason)

    def _set(self, member: Member, state: MemberState, reason: str | None = None) -> None:
        self._states[member.idx] = state
        set_member_state(self._pipeline.paths.ensemble_id, member.idx, state, error=reason)

    def _show(self, text: str) -> None:
        running = [text] if text else []
        running += [f"{name}: {progress}" for name, progress in self._pool.progress().items()]
        self._status.show(f"members: {self._n_ended} of {len(self._by_name)} done; {'; '.join(running)}")


def merge_member(paths: RunPaths, config: ClusteringRunConfig, idx: int, n_parallel: int, report: Report) -> Any:
    """A member's light process: from its saved memberships to its plots."""
    return merge_run(paths, config, idx=idx, n_parallel_members=n_parallel, report=report)


def _check_enough(pipeline: Pipeline, failures: list[tuple[str, str]], n_done: int) -> None:
    n_members = len(pipeline.members())
    if n_done < (n_members if pipeline.config.require_all else min(2, n_members)) or (n_members == 1 and failures):
        raise MemberFailedError(_describe_failures(pipeline, failures, n_done))


def _describe_failures(pipeline: Pipeline, failures: list[tuple[str, str]], n_done: int) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in failures:
        by_reason.setdefault(reason, []).append(name)
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    ensemble_id = pipeline.paths.ensemble_id
    return (
        f"{len(failures)} failed: {reasons}; {n_done} of {len(pipeline.members())} members are finished and kept: "
        f"`spd-clustering --resume {ensemble_id} --local` does what is missing"
    )


def _run_distances(pipeline: Pipeline, options: LocalOptions, status: StatusLine) -> list[tuple[str, str]]:
    """(step, reason) of what failed."""
    if len(pipeline.members()) == 1:
        logger.info("one member: there is nothing to compare")
        return []
    paths, methods = pipeline.paths, pipeline.config.distances_methods
    failures: list[tuple[str, str]] = []
    workers = min(n_workers(pipeline, options.distances_parallel), len(methods))
    with LocalPool(workers, PRELOAD) as pool:
        steps = [[Task("collecting the ensemble", collect, (paths, pipeline.config.require_all))]]
        steps.append([Task(method, distances, (paths, method, pipeline.config.require_all)) for method in methods])
        steps.append([Task("consensus", consensus, (paths, pipeline.config.require_all))])
        for step in steps:
            for task in step:
                pool.submit(task)
            failures += _wait(pool, options, status)
            if failures and step is steps[0]:
                break
    return failures


def _wait(pool: LocalPool, options: LocalOptions, status: StatusLine) -> list[tuple[str, str]]:
    failures = []
    while pool.n_unfinished:
        for outcome in pool.poll(0.5):
            if outcome.error is not None:
                failures.append((outcome.name, outcome.error))
                logger.error("%s failed: %s", outcome.name, outcome.error)
                logger.debug("%s", outcome.trace)
            elif options.track_resources:
                print(resources_line(outcome.name, outcome.wall_s, outcome.cpu_s, outcome.peak_mib))
        status.show("; ".join(f"{name}: {text}" for name, text in pool.progress().items()))
    return failures


def collect(paths: EnsemblePaths, require_all: bool, report: Report) -> None:
    """Write the merge array and the metadata."""
    from spd.clustering.pipeline.comparison import collect_ensemble

    collect_ensemble(paths, require_all=require_all)


def distances(paths: EnsemblePaths, method: str, require_all: bool, report: Report) -> None:
    """Compare the members by one method, unless that is done."""
    from spd.clustering.pipeline.comparison import calc_distances, distances_are_current

    if distances_are_current(paths, method):
        logger.info("done already")
        return
    calc_distances(paths, method, require_all=require_all)


def consensus(paths: EnsemblePaths, require_all: bool, report: Report) -> None:
    """Find the stable groups, unless that is done."""
    from spd.clustering.pipeline.comparison import consensus_is_current
    from spd.clustering.scripts.calc_consensus import write_consensus
    from spd.clustering.tracking.ensemble import track_ensemble

    if consensus_is_current(paths):
        logger.info("done already")
        return
    write_consensus(paths, require_all=require_all)
    track_ensemble(paths, ClusteringRunConfig.from_file(paths.clustering_run_config))
