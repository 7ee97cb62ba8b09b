"""The observer of a merge: metrics.jsonl always; to W&B, when a project is given, what LoggingIntervals asks for.

1. Every merge updates the scalars; every `stat` merges they are written.
2. Every `tensor` merges: statistics and histograms of coactivations, costs, group sizes and activities.
3. Every `plot` merges a picture of the merge state, every `artifact` merges a copy of the history.
4. At the end: the pictures and the history of the finished run, and how many groups were found.

A long run is thinned out to fixed numbers of points, and what would exceed the budget of time or memory is left out;
both are logged.
"""

import logging
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.plotting.figures import save_partition_figure
from spd.clustering.storage import RunPaths
from spd.clustering.tracking.budget import Budget, thinned
from spd.clustering.tracking.metrics_log import MetricsLog, StepScalars
from spd.clustering.tracking.tensors import fraction_zero, step_tensors, summarise
from spd.clustering.tracking.wandb_sender import WandbSender
from spd.errors import with_class

if TYPE_CHECKING:
    from spd.clustering.groups import Groups
    from spd.clustering.memberships import Memberships
    from spd.clustering.merge import MergeStep
    from spd.clustering.merge_history import MergeHistory

logger = logging.getLogger(__name__)

MAX_LINES = 20_000
MAX_SCALARS = 5_000
MAX_TENSORS = 200
MAX_PLOTS = 50
MAX_ARTIFACTS = 50
_RESERVED_S = 6.0
"""Of the budget, for sending the rest at the end."""
_ALLOWED_FILE_S = 2.0
"""Without W&B there is little to log, so that a short run need not wait for it."""
_SECONDS_PER_PAIR = 2e-7
"""What the tensors of one pair of groups are expected to take, until it is measured."""
MAX_GROUPS = 3_000
"""Matrices of more groups are not looked at: some ten of them are in memory at a time."""
_IMAGES = {
    "cluster_sizes.png": "plots/merge_history_cluster_sizes",
    "activations.png": "plots/activations/overview",
    "merge_state.png": "plots/merges",
    "costs.png": "plots/costs",
}
"""File in the run's plots/ -> its name on W&B."""
_MAX_TAG = 64
"""W&B refuses longer tags."""


class RunTracker:
    """`log_callback` of `merge_iteration`, used as a context around it.

    Args:
        idx: the member's index in its ensemble.
        task: the name of the model's task, for a tag.
        budget: of time; None: as documented there.
    """

    def __init__(
        self,
        paths: RunPaths,
        config: ClusteringRunConfig,
        memberships: "Memberships",
        *,
        idx: int | None = None,
        task: str | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._paths = paths
        self._config = config
        self._memberships = memberships
        n_iters = config.merge_config.get_num_iters(memberships.n_components)
        self._metrics = MetricsLog(paths.metrics, n_iters)
        self._scalars = StepScalars(memberships.n_samples)
        self._wandb: WandbSender | None = None
        asked = config.logging_intervals
        self._lines_every = thinned(asked.stat, n_iters, MAX_LINES)
        self._every = {
            "scalars": thinned(asked.stat, n_iters, MAX_SCALARS),
            "tensors": thinned(asked.tensor, n_iters, MAX_TENSORS),
            "plots": thinned(asked.plot, n_iters, MAX_PLOTS),
            "artifacts": thinned(asked.artifact, n_iters, MAX_ARTIFACTS),
        }
        self._budget = budget or (
            Budget(reserved_s=_RESERVED_S) if config.wandb_project else Budget(allowed_s=_ALLOWED_FILE_S)
        )
        if config.wandb_project:
            # Not billed to logging: the run's own plots need it.
            import matplotlib.backends.backend_agg
            import matplotlib.figure  # noqa: F401

            self._start_wandb(idx, task)
            self._log_thinning(n_iters)

    def __enter__(self) -> Self:
        self._metrics.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.__exit__(kind, error, trace)
        if self._wandb is not None:
            # A run that is stopped has little time; W&B's own copy on disk can be sent later.
            left = max(self._budget.left(), 2.0)
            self._wandb.finish(min(left, 5.0) if isinstance(error, KeyboardInterrupt) else left)
            self._wandb = None
        if self._budget.n_skipped:
            skipped = ", ".join(f"{count} of {kind}" for kind, count in self._budget.n_skipped.items())
            logger.info("logged less than asked for, to take at most 5%% of the run or 10 s: left out %s", skipped)

    def __call__(self, step: "MergeStep") -> None:
        with self._budget.covering():
            self._observe(step)

    def _observe(self, step: "MergeStep") -> None:
        number = step.iteration
        scalars = self._scalars(step)
        to_line = number % self._lines_every == 0 or step.k_groups == 1
        if self._wandb is not None:
            self._log_to_wandb(step, scalars)
        elif self._matrix_is_due("fraction_zero_coacts", step, _SECONDS_PER_PAIR / 10):
            with self._budget.spend("fraction_zero_coacts"):
                scalars["fraction_zero_coacts"] = fraction_zero(step)
        if to_line or "fraction_zero_coacts" in scalars:
            self._metrics.write(number, scalars)

    def next_state(self, iteration: int) -> int:
        """The next iteration, or this one, whose matrices may be logged."""
        kinds = ["tensors"] if self._wandb is None else ["tensors", "plots"]
        return min(-(-iteration // self._every[kind]) * self._every[kind] for kind in kinds)

    def finished(self, history: "MergeHistory", groups: "Groups | None" = None) -> None:
        """Log what belongs to the finished run; its files have to be there.

        Args:
            groups: found in the run's memberships.
        """
        if self._wandb is None:
            return
        images = {
            name: str(self._paths.plots / file)
            for file, name in _IMAGES.items()
            if (self._paths.plots / file).is_file()
        }
        found = {} if groups is None else {"n_groups_found": groups.n_groups}
        self._wandb.send({"images": images, "values": found, "summary": _plain(history.summary())})
        if self._paths.history.is_file():
            self._send_file("merge_history", "merge_history", self._paths.history, {"n_iters": len(history)})

    def _log_to_wandb(self, step: "MergeStep", scalars: dict[str, float]) -> None:
        number = step.iteration
        values: dict[str, Any] = {}
        line: dict[str, Any] = {"step": number, "values": values}
        if number % self._every["scalars"] == 0:
            values.update(scalars)
        with _never_fatal("something was not logged"):
            if self._matrix_is_due("tensors", step, _SECONDS_PER_PAIR):
                with self._budget.spend("tensors"):
                    self._add_tensors(step, scalars, line)
            if number > 0 and self._is_due("plots", number, 1.5):
                with self._budget.spend("plots"):
                    line["images"] = {"plots/merges": str(self._state_figure(step))}
            if number > 0 and self._is_due("artifacts", number, 0.5):
                with self._budget.spend("artifacts"):
                    self._send_history(step)
        assert self._wandb is not None
        if len(line) > 2 or values:
            self._wandb.send(line)

    def _is_due(self, kind: str, number: int, expected_s: float) -> bool:
        return number % self._every[kind] == 0 and self._budget.allows(kind, expected_s)

    def _matrix_is_due(self, kind: str, step: "MergeStep", seconds_per_pair: float) -> bool:
        if step.iteration % self._every["tensors"] or step.k_groups < 2:
            return False
        if step.k_groups > MAX_GROUPS:
            self._budget.skip(f"matrices of over {MAX_GROUPS:,} groups")
            return False
        return self._budget.allows(kind, step.k_groups**2 * seconds_per_pair)

    def _add_tensors(self, step: "MergeStep", scalars: dict[str, float], line: dict[str, Any]) -> None:
        tensors, zero_coacts = step_tensors(step)
        scalars["fraction_zero_coacts"] = line["values"]["fraction_zero_coacts"] = zero_coacts
        line["histograms"] = {}
        for name, array in tensors.items():
            summary = summarise(array)
            if summary is None:
                continue
            for statistic, value in summary.statistics.items():
                line["values"][f"tensor_metrics/iters.{name}/{statistic}"] = value
            line["histograms"][f"tensor_histograms/iters.{name}"] = [summary.counts, summary.edges]

    def _state_figure(self, step: "MergeStep") -> Path:
        assert self._wandb is not None
        path = self._wandb.directory / f"merges_{step.iteration}.png"
        alpha = self._config.merge_config.alpha
        return save_partition_figure(path, self._memberships, step.group_merge(), alpha)

    def _send_history(self, step: "MergeStep") -> None:
        assert self._wandb is not None
        path = self._wandb.directory / f"history_{step.iteration}.zip"
        step.history().save(path)
        self._send_file(f"merge_hist_iter.iter_{step.iteration}", "merge_hist_iter", path, {"iter": step.iteration})

    def _send_file(self, name: str, kind: str, path: Path, metadata: dict[str, Any]) -> None:
        assert self._wandb is not None
        if path.parent != self._wandb.directory:  # the run's own files may be gone before they are sent
            path = Path(shutil.copy2(path, self._wandb.directory / path.name))
        given = {"name": name, "type": kind, "path": str(path), "file_name": "history.zip", "metadata": metadata}
        self._wandb.send({"artifact": given})

    def _start_wandb(self, idx: int | None, task: str | None) -> None:
        config = self._config
        self._wandb = WandbSender(
            {
                "project": config.wandb_project,
                "entity": config.wandb_entity,
                "id": self._paths.run_id,
                "name": self._paths.run_id,
                "group": config.ensemble_id,
                "job_type": "clustering",
                "tags": run_tags(config, idx, task),
                "config": config.model_dump(mode="json"),
                "dir": str(self._paths.directory),
            }
        )

    def _log_thinning(self, n_iters: int) -> None:
        asked = self._config.logging_intervals
        wanted = {"scalars": asked.stat, "tensors": asked.tensor, "plots": asked.plot, "artifacts": asked.artifact}
        rarer = [f"{kind} every {self._every[kind]}" for kind, every in wanted.items() if self._every[kind] != every]
        if rarer:
            logger.info("W&B: %d merges are many: logs %s merges", n_iters, ", ".join(rarer))


def run_tags(config: ClusteringRunConfig, idx: int | None, task: str | None) -> list[str]:
    """clustering, and where they are known task:, model:, ensemble_id:, assigned_idx:."""
    path = config.model_path or config.activations_path
    model = config.wandb_decomp_model or (path and path.removeprefix("example:").rstrip("/").rsplit("/", 1)[-1])
    known = {"task": task, "model": model, "ensemble_id": config.ensemble_id, "assigned_idx": idx}
    tags = [f"{name}:{value}" for name, value in known.items() if value is not None]
    return [tag[:_MAX_TAG] for tag in ["clustering", *tags]]


class _never_fatal:
    """Turns any error of the block, but not a stop, into a warning."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.warning("W&B: %s: %s", self._what, with_class(error))
        return True


def _plain(summary: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold."""
    return {name: value for name, value in summary.items() if isinstance(value, str | int | float | bool | None)}
