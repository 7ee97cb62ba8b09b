"""The whole pipeline on this machine.

1. This process loads the model once and harvests each member's batch, one after the other; where all members share a
   harvest, its parts are made first, in processes side by side (shared_harvest).
2. Each member merges and plots in a light process of its own, as many at a time as asked for; none of them imports
   torch, and the modules that they need are imported once.
3. Each distance method runs in such a process, too, then the consensus.
4. The report, last, in a process that runs the model again; its failure is a warning.
5. A member that fails is told at the end; the others are finished and compared.
"""

import logging
from dataclasses import dataclass

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import MemberState, RegisteredMember, set_member_state
from spd.clustering.execution.local import LocalPool, Outcome, Task
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.pipeline.comparison import calc_distances, collect_ensemble, distances_are_current
from spd.clustering.pipeline.config import member_config
from spd.clustering.pipeline.ensemble import Pipeline
from spd.clustering.pipeline.member import harvest_run
from spd.clustering.pipeline.member_merge import PRELOAD, MergePlace, Report, merge_run
from spd.clustering.pipeline.members import ADDED_BY_HAND, source_fingerprints, unfinished_members
from spd.clustering.pipeline.report_step import make_report_locally
from spd.clustering.pipeline.run_state import (
    Failure,
    describe_failures,
    is_finished,
    member_name,
    record_failure,
)
from spd.clustering.pipeline.shared_harvest import harvest_locally, shared_harvest, with_source
from spd.clustering.pipeline.sources import MembershipSource
from spd.clustering.pipeline.stable_groups import (
    settings_as_before,
    stable_groups_are_current,
    track_stable_groups,
    write_stable_groups,
)
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import MemberFailedError, describe_error
from spd.machine import available_cores

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalOptions:
    """How to use this machine.

    Attributes:
        clustering_parallel: members side by side.
        distances_parallel: distance methods side by side.
        track_resources: print what each distance job has used.
    """

    clustering_parallel: bool = False
    distances_parallel: bool = False
    track_resources: bool = False


def run_local(pipeline: Pipeline, options: LocalOptions, source: MembershipSource | None) -> None:
    """Do what is missing of the ensemble, or not whole, or not current: members, distances, stable groups, report.

    Args:
        source: of the members' memberships, so that a model that cannot be loaded is known before there is an ensemble;
            None: members cannot be made here, since each has its own.

    Raises:
        ConfigError: members were made from another config or other data.
        MemberFailedError: a member or a distance failed, after everything else was done; says which and why.
    """
    with StatusLine() as status:
        if shared_harvest(pipeline) is not None and source is not None:
            failures = harvest_locally(pipeline, source, status)
            if failures:
                members = pipeline.members()
                n_finished = _n_finished(pipeline, members)
                raise MemberFailedError(describe_failures(pipeline.paths, failures, n_finished, len(members)))
            pipeline, source = with_source(pipeline)
        failures = _run_members(pipeline, options, source, status)
        members = pipeline.members()
        n_finished = _n_finished(pipeline, members)
        needed = len(members) if pipeline.config.require_all else min(2, len(members))
        if n_finished >= needed and not (len(members) == 1 and failures):
            not_compared = _compare(pipeline, options, status)
            failures += not_compared
            if pipeline.config.report and all(step.what in pipeline.config.distances_methods for step in not_compared):
                make_report_locally(pipeline.paths, status)
    if failures or n_finished < needed:
        raise MemberFailedError(describe_failures(pipeline.paths, failures, n_finished, len(members)))


def _n_finished(pipeline: Pipeline, members: list[RegisteredMember]) -> int:
    return sum(is_finished(pipeline.paths.run(member.run_id)) for member in members)


def n_workers(n_wanted: int | None, parallel: bool) -> int:
    """How many processes to run at a time; `n_wanted` None: one a core."""
    return (n_wanted or available_cores()) if parallel else 1


def _run_members(
    pipeline: Pipeline, options: LocalOptions, source: MembershipSource | None, status: StatusLine
) -> list[Failure]:
    members = pipeline.members()
    todo = unfinished_members(pipeline, members, None if source is None else source_fingerprints(source))
    if source is None:
        return [Failure(member_name(member.idx), ADDED_BY_HAND) for member in todo]
    if not todo:
        logger.info("all %d members are finished already", len(members))
        return []
    workers = min(n_workers(pipeline.config.n_workers, options.clustering_parallel), len(todo))
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
        self._by_name: dict[str, RegisteredMember] = {}
        self._failures: list[Failure] = []
        self._states: dict[int, MemberState] = {}
        self._n_ended = 0

    def run(self, todo: list[RegisteredMember]) -> list[Failure]:
        """Those that failed."""
        self._by_name = {member_name(member.idx): member for member in todo}
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

    def _start(self, name: str, member: RegisteredMember) -> None:
        paths = self._pipeline.paths.run(member.run_id)
        config = member_config(self._pipeline.run_config, self._pipeline.paths.ensemble_id, member.idx)
        try:
            self._harvest(name, paths, config)
        except Exception as error:  # whatever it is, the other members go on, as when a merge fails
            logger.debug("%s", name, exc_info=True)
            self._fail(name, describe_error(error))
            return
        self._set(member, "running")
        self._pool.submit(Task(name, merge_member, (paths, config, member.idx, self._workers)))

    def _harvest(self, name: str, paths: RunPaths, config: ClusteringRunConfig) -> None:
        rate = HarvestProgress(self._source.expected_samples(config))

        def progress(n_done: int) -> None:
            self._take(self._pool.poll())
            self._show(f"{name}: harvested {rate.describe(n_done)}")

        snapshot = self._pipeline.snapshot_branch
        harvest_run(paths, config, self._source, progress=progress, snapshot_branch=snapshot)

    def _take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            member = self._by_name[outcome.name]
            if outcome.error is None:
                self._n_ended += 1
                self._set(member, "done")
                logger.debug("%s", outcome.usage.line(outcome.name))
            else:
                self._fail(outcome.name, outcome.error)
                logger.debug("%s", outcome.trace)

    def _fail(self, name: str, reason: str) -> None:
        self._n_ended += 1
        member = self._by_name[name]
        self._states[member.idx] = "failed"
        self._failures.append(record_failure(self._pipeline.paths.ensemble_id, member, reason))

    def _set(self, member: RegisteredMember, state: MemberState) -> None:
        self._states[member.idx] = state
        set_member_state(self._pipeline.paths.ensemble_id, member.idx, state)

    def _show(self, text: str) -> None:
        running = [text] if text else []
        running += [f"{name}: {progress}" for name, progress in self._pool.progress().items()]
        self._status.show(f"members: {self._n_ended} of {len(self._by_name)} done; {'; '.join(running)}")


def merge_member(paths: RunPaths, config: ClusteringRunConfig, idx: int, n_parallel: int, report: Report) -> None:
    """A member's light process: from its saved memberships to its plots."""
    merge_run(paths, config, MergePlace(idx, n_parallel, report))


def _compare(pipeline: Pipeline, options: LocalOptions, status: StatusLine) -> list[Failure]:
    """Merge array, distances, stable groups; returns the steps that failed."""
    if len(pipeline.members()) == 1:
        logger.info("one member: there is nothing to compare")
        return []
    paths, methods, require_all = pipeline.paths, pipeline.config.distances_methods, pipeline.config.require_all
    failures: list[Failure] = []
    workers = min(n_workers(pipeline.config.n_workers, options.distances_parallel), len(methods))
    steps = [
        [Task("collecting the ensemble", collect, (paths, require_all))],
        [Task(method, distances, (paths, method, require_all)) for method in methods],
        [Task("consensus", consensus, (paths, require_all))],
    ]
    with LocalPool(workers, PRELOAD) as pool:
        for step in steps:
            for task in step:
                pool.submit(task)
            failures += _wait(pool, options, status)
            if failures and step is steps[0]:
                break
    return failures


def _wait(pool: LocalPool, options: LocalOptions, status: StatusLine) -> list[Failure]:
    failures = []
    while pool.n_unfinished:
        for outcome in pool.poll(0.5):
            if outcome.error is not None:
                failures.append(Failure(outcome.name, outcome.error))
                logger.error("%s failed: %s", outcome.name, outcome.error)
                logger.debug("%s", outcome.trace)
            elif options.track_resources:
                print(outcome.usage.line(outcome.name))
        status.show("; ".join(f"{name}: {text}" for name, text in pool.progress().items()))
    return failures


def collect(paths: EnsemblePaths, require_all: bool, report: Report) -> None:
    """Write the merge array and the metadata."""
    collect_ensemble(paths, require_all=require_all)


def distances(paths: EnsemblePaths, method: str, require_all: bool, report: Report) -> None:
    """Compare the members by one method, unless that is done."""
    if distances_are_current(paths, method):
        logger.info("done already")
        return
    calc_distances(paths, method, require_all=require_all)


def consensus(paths: EnsemblePaths, require_all: bool, report: Report) -> None:
    """Find the stable groups, unless that is done."""
    if stable_groups_are_current(paths):
        logger.info("done already")
        return
    write_stable_groups(paths, settings_as_before(paths), require_all=require_all)
    track_stable_groups(paths)
