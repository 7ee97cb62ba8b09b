"""metrics.jsonl: one line of scalars for each logged merge, so that plots and `--status` need no service.

Group sizes are kept up to date merge by merge (the pair is the two that became one), so that nothing here costs more
than O(k) a merge.
"""

import json
import math
import time
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from spd.errors import SPDError
from spd.files.atomic import atomic_write

if TYPE_CHECKING:
    from spd.clustering.merge import MergeStep

SEMILOG_LINEAR = 1e-3
_SECONDS_BETWEEN_FLUSHES = 1.0


class StepScalars:
    """The scalars of each merge; has to see every merge from the first on that it is shown.

    Args:
        n_samples: turns the MDL per sample into the whole one.
    """

    def __init__(self, n_samples: int) -> None:
        self._n_samples = n_samples
        self._sizes: list[int] = []
        self._n_singletons = 0

    def __call__(self, step: "MergeStep") -> dict[str, float]:
        """What is known of the state after this merge."""
        self._merge(step)
        return {
            "k_groups": step.k_groups,
            "merge_pair_cost": step.cost,
            "merge_pair_cost_semilog[1e-3]": semilog(step.cost),
            "mdl_loss": step.mdl_loss_norm * self._n_samples,
            "mdl_loss_norm": step.mdl_loss_norm,
            "fraction_singleton_groups": self._n_singletons / step.k_groups,
            "num_nonsingleton_groups": step.k_groups - self._n_singletons,
        }

    def _merge(self, step: "MergeStep") -> None:
        if not self._sizes:
            self._sizes = [int(size) for size in step.group_merge().components_per_group]
            self._n_singletons = self._sizes.count(1)
            return
        low, high = step.pair
        self._n_singletons -= (self._sizes[low] == 1) + (self._sizes[high] == 1)
        self._sizes[low] += self._sizes.pop(high)
        assert len(self._sizes) == step.k_groups, "a merge was not shown"


def semilog(value: float, linear: float = SEMILOG_LINEAR) -> float:
    """`value` where |value| < linear, beyond it sign(value) * linear * (1 + log10(|value| / linear)): negative costs
    of very different sizes on one axis."""
    if not abs(value) >= linear:
        return value
    return math.copysign(linear * (1 + math.log10(abs(value) / linear)), value)


class MetricsLog:
    """Appends to metrics.jsonl; used as a context.

    A run that goes on from a checkpoint repeats merges: lines from its first iteration on are dropped before it writes.
    """

    def __init__(self, path: Path, n_iters: int) -> None:
        self._path = path
        self._n_iters = n_iters
        self._file: IO[str] | None = None
        self._started = time.monotonic()
        self._first_iteration = 0
        self._last_flush = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failed:
                if error is None:
                    raise self._cannot_write(failed) from failed

    def write(self, iteration: int, scalars: dict[str, float]) -> None:
        """Add a line: iteration (from 0), n_iters (planned), elapsed_s and first_iteration (of this process, from
        which the time left follows), and the scalars; what is not finite is null.

        Raises:
            SPDError: the file cannot be written.
        """
        now = time.monotonic()
        try:
            if self._file is None:
                self._file = self._open(iteration)
            values: dict[str, Any] = {
                "iteration": iteration,
                "n_iters": self._n_iters,
                "first_iteration": self._first_iteration,
                "elapsed_s": round(now - self._started, 3),
            }
            values |= {name: value if math.isfinite(value) else None for name, value in scalars.items()}
            self._file.write(json.dumps(values) + "\n")
            if now - self._last_flush > _SECONDS_BETWEEN_FLUSHES:
                self._file.flush()
                self._last_flush = now
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> SPDError:
        return SPDError(f"{self._path}: cannot be written: {error.strerror or error}")

    def _open(self, iteration: int) -> IO[str]:
        self._first_iteration = iteration
        earlier = [line for line in read_metrics(self._path) if line["iteration"] < iteration]
        with atomic_write(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in earlier)
        return self._path.open("a", encoding="utf-8")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that are whole; none where there is no file. The last line may be cut short, since
    the run may still be writing it, or have been killed."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict) and isinstance(content.get("iteration"), int):
            found.append(content)
    return found


def seconds_left(last: dict[str, Any]) -> float | None:
    """The time that a run still needs at the pace of its process so far, from its last line; None: not known yet."""
    try:
        done = last["iteration"] + 1 - last["first_iteration"]
        left = last["n_iters"] - last["iteration"] - 1
        return float(left * last["elapsed_s"] / done) if done > 0 else None
    except (KeyError, TypeError):
        return None
