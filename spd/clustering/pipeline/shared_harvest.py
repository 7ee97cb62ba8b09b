"""The one harvest that all members of an ensemble start from, where its config has harvest_tasks.

It has the ensemble's digits: h-0123abcd belongs to e-0123abcd. Tasks make its parts, side by side; the last of them
closes it. Members then draw a bootstrap of its samples each, as from any harvest: their config, members_config.json in
the ensemble's directory, is the ensemble's with the harvest in the place of the model. A part that is whole is kept, so
that `--resume` makes the missing ones alone; a harvest that is gone is made again.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.execution.local import LocalPool, Outcome, Task
from spd.clustering.harvest.parts import HarvestPlan, whole_part
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.ensemble import Pipeline
from spd.clustering.pipeline.harvest import begin_harvest, close_harvest, harvest_part
from spd.clustering.pipeline.member_merge import Report
from spd.clustering.pipeline.run_record import config_changes
from spd.clustering.pipeline.run_state import Failure
from spd.clustering.pipeline.sources import MembershipSource, ModelSource, open_source
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.storage import EnsemblePaths, HarvestPaths
from spd.errors import ConfigError, SPDError
from spd.machine import available_cores

logger = logging.getLogger(__name__)


def harvest_of(paths: EnsemblePaths) -> HarvestPaths:
    """Where an ensemble's harvest is, if it has one."""
    identifier = f"{HarvestPaths.prefix}-{paths.ensemble_id.split('-')[1]}"
    return HarvestPaths(identifier, paths.root / HarvestPaths.folder / identifier)


def members_config(paths: EnsemblePaths) -> Path:
    """The config of members that share a harvest."""
    return paths.directory / "members_config.json"


def shared_harvest(pipeline: Pipeline) -> HarvestPaths | None:
    """The harvest of an ensemble's members; None where each has its own."""
    return harvest_of(pipeline.paths) if pipeline.config.harvest_tasks is not None else None


def check_can_share(
    config: ClusteringPipelineConfig, run_config: ClusteringRunConfig, source: MembershipSource
) -> None:
    """Know early whether a harvest can be made in so many tasks.

    Raises:
        ConfigError: the members do not start from a model, or there are fewer micro-batches than tasks.
    """
    if config.harvest_tasks is None:
        return
    if not isinstance(source, ModelSource):
        raise ConfigError(
            "harvest_tasks: is for the importances of a model, but the run config has activations_path, which is read "
            "by every member: leave it out"
        )
    source.check_tasks(run_config, config.harvest_tasks)


def with_source(pipeline: Pipeline) -> tuple[Pipeline, MembershipSource]:
    """The source of an ensemble's members, and the pipeline with their config: the harvest once it is complete, before
    that the model.

    Raises:
        ConfigError: the harvest was made with another config.
        SPDError: it cannot be found or read.
    """
    harvest = shared_harvest(pipeline)
    if harvest is None or not harvest.metadata.is_file():
        return pipeline, open_source(pipeline.run_config)
    _check_made_with(harvest, pipeline.run_config)
    config = _on_harvest(pipeline.run_config, harvest)
    source = open_source(config)
    return replace(pipeline, run_config=source.run_config(config)), source


def _check_made_with(harvest: HarvestPaths, config: ClusteringRunConfig) -> None:
    """The members' own config does not name the model, nor which of its data were taken: the harvest's does.

    Raises:
        ConfigError: it says otherwise.
    """
    if config.model_path is None:  # it is the members' already
        return
    changes = config_changes(ClusteringRunConfig.from_file(harvest.config), config.replaced(ensemble_id=None))
    if changes:
        raise ConfigError(
            f"{harvest.directory}: was made with another config ({changes}): put the config back, or start a new "
            "ensemble"
        )


def begin_shared(pipeline: Pipeline, source: MembershipSource) -> tuple[Pipeline, MembershipSource]:
    """Write what the tasks and the members start from; close the harvest if only that is missing.

    Returns:
        See `with_source`.

    Raises:
        ConfigError: the harvest was begun with another config or another model.
        SPDError: a file cannot be written; see also close_harvest.
    """
    harvest, n_tasks = shared_harvest(pipeline), pipeline.config.harvest_tasks
    if harvest is None or n_tasks is None:
        return pipeline, source
    _on_harvest(pipeline.run_config, harvest).to_file(members_config(pipeline.paths))
    if not harvest.metadata.is_file():
        assert isinstance(source, ModelSource), "check_can_share was called"
        begin_harvest(harvest, pipeline.run_config.replaced(ensemble_id=None), source, n_tasks)
        close_if_whole(harvest)
    return with_source(pipeline) if harvest.metadata.is_file() else (pipeline, source)


def _on_harvest(config: ClusteringRunConfig, harvest: HarvestPaths) -> ClusteringRunConfig:
    return config.replaced(model_path=None, activations_path=str(harvest.directory))


def missing_parts(harvest: HarvestPaths) -> list[int]:
    """The parts of a harvest that was begun which no task has completed."""
    plan = HarvestPlan.read(harvest)
    return [part for part in range(plan.n_parts) if whole_part(harvest, plan.slot(part)) is None]


def close_if_whole(harvest: HarvestPaths) -> bool:
    """Close a harvest whose parts are all there; whether they are.

    Raises:
        SPDError: see close_harvest.
    """
    if missing_parts(harvest):
        return False
    close_harvest(harvest)
    return True


def part_name(part: int) -> str:
    """What messages call a part."""
    return f"harvest part {part}"


def run_part(paths: EnsemblePaths, part: int) -> HarvestPaths:
    """A task of its own: make a part, and close the harvest if it was the last.

    Raises:
        SPDError: see harvest_part and close_harvest.
    """
    harvest = harvest_of(paths)
    _make_part(harvest, part, 0, None)
    close_if_whole(harvest)
    return harvest


def harvest_locally(pipeline: Pipeline, source: MembershipSource, status: StatusLine) -> list[Failure]:
    """Make what is missing of the harvest in processes of this machine, each on a GPU of its own where there are
    several, and close it; returns the parts that failed.

    Raises:
        SPDError: see begin_shared.
    """
    harvest = shared_harvest(pipeline)
    begin_shared(pipeline, source)
    if harvest is None or harvest.metadata.is_file():
        return []
    waiting = missing_parts(harvest)
    free = list(range(_side_by_side(len(waiting))))
    n_threads = max(1, available_cores() // len(free))
    n_done, lane_of, failures = 0, {}, []
    with LocalPool(len(free)) as pool:
        while waiting or pool.n_unfinished:
            while waiting and free:
                part, lane = waiting.pop(0), free.pop(0)
                lane_of[part_name(part)] = lane
                pool.submit(Task(part_name(part), part_task, (harvest, part, lane, n_threads)))
            for outcome in pool.poll(0.5):
                free.append(lane_of[outcome.name])
                n_done += 1
                failures += _failure(outcome)
            running = "; ".join(f"{name}: {text}" for name, text in pool.progress().items())
            status.show(f"harvest: {n_done} of {n_done + len(waiting) + pool.n_unfinished} parts done; {running}")
    if not failures:
        close_harvest(harvest)
    return failures


def part_task(harvest: HarvestPaths, part: int, lane: int, n_threads: int, report: Report) -> None:
    """A process of harvest_locally."""
    import torch

    torch.set_num_threads(n_threads)
    _make_part(harvest, part, lane, report)


def _make_part(harvest: HarvestPaths, part: int, gpu: int, report: Report | None) -> None:
    config = ClusteringRunConfig.from_file(harvest.config)
    assert config.model_path is not None, "begin_harvest takes models only"
    source = ModelSource(config.model_path, gpu)
    rate = HarvestProgress(source.expected_in_part(config, HarvestPlan.read(harvest).slot(part)))
    harvest_part(harvest, part, source, None if report is None else lambda n_done: report(rate.describe(n_done)))


def _side_by_side(n_tasks: int) -> int:
    """How many tasks this machine takes at a time: one a GPU, or, without any, one a core."""
    import torch

    return max(1, min(n_tasks, torch.cuda.device_count() or available_cores()))


def _failure(outcome: Outcome) -> list[Failure]:
    if outcome.error is None:
        return []
    logger.error("%s failed: %s", outcome.name, outcome.error)
    logger.debug("%s", outcome.trace)
    return [Failure(outcome.name, outcome.error)]


def harvest_rows(paths: EnsemblePaths, running: Sequence[int]) -> list[tuple[str, ...]]:
    """Rows for people: the parts of an ensemble's harvest; none where it has no harvest of its own.

    Args:
        running: parts whose tasks are known to run or to wait.
    """
    harvest = harvest_of(paths)
    if not harvest.plan.is_file():
        return []
    rows: list[tuple[str, ...]] = [(harvest.harvest_id, "state", "samples", "active entries")]
    try:
        plan = HarvestPlan.read(harvest)
    except SPDError as error:
        return [*rows, ("", str(error), "", "")]
    n_whole = 0
    for number in range(plan.n_parts):
        part = whole_part(harvest, plan.slot(number))
        n_whole += part is not None
        if part is not None:
            rows.append((f"part {number}", "whole", f"{part.n_samples:,}", f"{part.n_entries:,}"))
        else:
            rows.append((f"part {number}", "with SLURM" if number in running else "missing", "", ""))
    if not harvest.metadata.is_file():
        state = "not complete: --resume does what is missing"
    elif n_whole < plan.n_parts:
        state = f"damaged: remove {harvest.metadata}, then --resume does what is missing"
    else:
        state = "complete"
    return [*rows, ("in all", state, "", "")]
