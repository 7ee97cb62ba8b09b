"""Kernels are compiled once per machine, beside the model's load and the harvest, not in each member.

1. While this process opens the model and harvests, two light processes call everything that a member and the
   comparison will call, on a few samples; what they compile lands in numba's cache. Each begins with one half of what
   a merge needs, which members ask for first.
2. A member that needs a kernel meanwhile waits for that one (math/kernels/jit locks what is being compiled).
3. When all is compiled a marker is left beside the cache, so that later runs start no such process. It names what it
   vouches for: the kernels' source, numba, Python, this kind of processor. Where it is wrong (a cache was removed) the
   members compile, which takes longer and harms nothing.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consts import DistancesMethod
from spd.clustering.execution.local import LocalPool, Task
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.member_merge import PRELOAD, Report
from spd.errors import SPDError, one_line
from spd.machine import available_cores

logger = logging.getLogger(__name__)

_CLUSTERING = Path(__file__).resolve().parent.parent
_MARKER = "spd_compiled"
_N_COMPONENTS, _N_SAMPLES, _RATE = 64, 2048, 0.02
"""Few enough active entries that the merge takes them as sparse rows, as it does with nearly all real ones."""


@contextlib.contextmanager
def compiling_ahead(config: ClusteringRunConfig, distances_methods: Sequence[DistancesMethod] = ()) -> Iterator[None]:
    """Inside, what runs of this config need is compiled by other processes; they are stopped at the end.

    Nothing is started where all is compiled already, or where there is one core, on which it would gain nothing. Where
    no process can be started, that is a warning, and the run goes on.
    """
    marker = _marker(config.merge_config, distances_methods)
    pool = None if marker.exists() or available_cores() == 1 else _started(config, distances_methods)
    if pool is None:
        yield
        return
    with pool:
        yield
        ended = pool.poll()
        if pool.n_unfinished == 0 and all(outcome.error is None for outcome in ended):
            _leave(marker)


def _started(config: ClusteringRunConfig, distances_methods: Sequence[DistancesMethod]) -> LocalPool | None:
    """The processes that compile; None where there can be none."""
    tasks = [
        Task("compiling the merge", compile_merges, (config.merge_config, tuple(distances_methods))),
        Task("compiling the groups", compile_groups, (config.merge_config,)),
    ]
    with contextlib.ExitStack() as stack:
        try:
            pool = stack.enter_context(LocalPool(len(tasks), PRELOAD))
            for task in tasks:
                pool.submit(task)
        except (SPDError, OSError) as error:
            logger.warning("kernels are not compiled ahead, so each process compiles them: %s", one_line(error))
            return None
        stack.pop_all()
    return pool


def compile_merges(config: MergeConfig, distances_methods: Sequence[DistancesMethod], report: Report) -> None:
    """Call what merges by this config, the rest that a whole merge needs, what the search for groups calls last, then
    what compares members."""
    from spd.clustering.consensus import FOUND_GROUPS, MemberCuts, agreement_along_iterations, find_consensus
    from spd.clustering.merge import compile_merge, merge_iteration
    from spd.clustering.merge_history import MergeHistoryEnsemble

    _be_quiet()
    activations, labels = _few_activations(config)
    compile_merge(config, activations, labels, starts=False)
    whole = config.model_copy(update={"iters": None})
    history = merge_iteration(whole, activations, labels, rng=np.random.default_rng(0))
    _describe_groups()
    ensemble = MergeHistoryEnsemble([history, history])
    for method in distances_methods:
        ensemble.get_distances(method)
    if distances_methods:
        agreement_along_iterations([history, history])
        partitions = ensemble.normalized()[0][:, len(labels) // 2].astype(np.int64)
        consensus = find_consensus(MemberCuts(labels, partitions, None, FOUND_GROUPS))
        consensus.coassociation.image(np.arange(len(labels)), 2)


def compile_groups(config: MergeConfig, report: Report) -> None:
    """Call what a merge by this config starts with, then what finds the groups of a member."""
    from spd.clustering.groups import find_groups
    from spd.clustering.merge import compile_merge

    _be_quiet()
    activations, labels = _few_activations(config)
    compile_merge(config, activations, labels, starts=True)
    find_groups(*_few_samples())


def _describe_groups() -> None:
    """What a search for groups ends with, for groups that nobody has searched, and how it counts."""
    from spd.clustering.groups.columns import columns_of
    from spd.clustering.groups.cut import TreeCut
    from spd.clustering.groups.describe import describe, nested_groups
    from spd.clustering.groups.pairs import counted_pairs, listed_pairs
    from spd.clustering.groups.secondary import secondary_memberships
    from spd.clustering.math.workers import Workers
    from spd.clustering.memberships import Memberships

    workers, n = Workers(1), _N_COMPONENTS
    columns = columns_of(Memberships.from_activations(*_few_samples(), None), workers)
    some, group_of = np.full(n, 0.5), np.arange(n) // 4
    about = describe(
        columns, TreeCut(np.zeros(0, np.int64), np.zeros(0), group_of, some, some, some / 2), group_of, workers, _silent
    )
    secondary_memberships(columns, group_of, about, workers)
    nested_groups(about, workers)
    for pairs in (counted_pairs, listed_pairs):  # which of them a search calls depends on how much is active
        deque(pairs(columns, workers, lambda _: None, n * n), maxlen=0)


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody is told of."""


def _be_quiet() -> None:
    """What is found in a few made-up samples is nobody's business. Who stops this process waits for its end, and
    there is nothing to put in order: so it ends at once, in the middle of a kernel."""
    logging.getLogger("spd").setLevel(logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _few_samples() -> tuple[np.ndarray, list[str]]:
    """Booleans in which some components fire together, so that every step has something to do."""
    rng = np.random.default_rng(0)
    firing = rng.random((_N_SAMPLES, _N_COMPONENTS // 4)) < _RATE
    values = np.repeat(firing, 4, axis=1) & (rng.random((_N_SAMPLES, _N_COMPONENTS)) < 0.9)
    return values, [f"m:{i}" for i in range(_N_COMPONENTS)]


def _few_activations(config: MergeConfig) -> tuple[np.ndarray, list[str]]:
    """The same as merges by this config get them."""
    values, labels = _few_samples()
    is_soft = config.activation_threshold is None
    return np.where(values, np.float32(0.5), np.float32(0)) if is_soft else values, labels


def _marker(config: MergeConfig, distances_methods: Sequence[DistancesMethod]) -> Path:
    """`spd_compiled_<what the kernels are>_<which of them>` in numba's directory."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    directory = Path(own) if own else _CLUSTERING / "merge_engine" / "kernels" / "__pycache__"
    is_greedy = config.merge_pair_sampling_kwargs.get("threshold") == 0
    sampler = "greedy" if is_greedy else config.merge_pair_sampling_method
    which = f"{sampler} {config.activation_threshold is None} {sorted(distances_methods)}"
    return directory / f"{_MARKER}_{_kernels()}_{hashlib.sha256(which.encode()).hexdigest()[:8]}"


@functools.cache
def _kernels() -> str:
    digest = hashlib.sha256()
    for text in (importlib.metadata.version("numba"), platform.python_version(), _processor(), str(_CLUSTERING)):
        digest.update(text.encode())
    for path in sorted(_CLUSTERING.glob("**/kernels/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The kind of processor: machine code is made for it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line
    return platform.processor()


def _leave(marker: Path) -> None:
    with contextlib.suppress(OSError):
        for old in marker.parent.glob(f"{_MARKER}_*"):
            if old.name.split("_")[2] != marker.name.split("_")[2]:
                old.unlink()
        marker.touch()
