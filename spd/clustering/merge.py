"""`merge_iteration`: from memberships to the history of merges.

1. Turn the activations into sparse memberships, if they are not already.
2. Let the engine choose how to hold them, count the first coactivations, and merge.
3. After every merge report to the observer, if there is one; now and then to the progress display.
4. Put what was done into a `MergeHistory`, with a warning when it does not mean what one may think.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.compute_costs import compute_merge_costs
from spd.clustering.consts import MergePair
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.math.merge_paths import group_idxs_at, pairs_to_component_merges
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_engine.checkpoint import Checkpoint, fingerprint_of
from spd.clustering.merge_engine.coactivation import group_coactivation
from spd.clustering.merge_engine.drive import drive_engine
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.needs import MergeSize
from spd.clustering.merge_engine.ranks import ALONE, Ranks, check_same
from spd.clustering.merge_history import HistoryDetails, MergeHistory
from spd.clustering.merge_warnings import warn_of_result
from spd.errors import ActivationsError
from spd.interrupts import interrupts_kept
from spd.machine import available_cores, available_memory
from spd.text import byte_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.5
"""The part of the memory that the samples leave to the process that coactivations may take, unless `memory_limit_gb` is
set."""


@dataclass(frozen=True)
class MergeRunOptions:
    """How a merge is run: nothing here, but for `merge_options`, changes its result.

    Attributes:
        merge_options: options beside the merge config.
        progress: show a bar on a terminal, log a line now and then elsewhere.
        checkpoint_path: where the state is saved now and then, and on an interrupt; if the file is there, the merge
            goes on from it. It stays when the merge is done: remove it once the history is saved.
        n_parallel_members: how many such merges share the machine: each takes its part of memory and cores.
        n_threads: of the kernels that can be shared out; None: its part of the cores.
        ranks: the processes over which the samples are divided. All of them call merge_iteration with the same
            arguments and get the same history; only rank 0 is called back, shows progress, warns and writes.
        next_state: lets several merges be made before the callback sees them, which costs less: for an iteration, the
            next one (or itself) at which the callback asks for the coactivation or the costs. At others it may still
            ask, but they are then counted again. None: every iteration.
    """

    merge_options: MergeOptions = field(default_factory=MergeOptions)
    progress: bool = False
    checkpoint_path: Path | str | None = None
    n_parallel_members: int = 1
    n_threads: int | None = None
    ranks: Ranks = ALONE
    next_state: Callable[[int], int] | None = None


class MergeStep:
    """One merge, as an observer sees it.

    Attributes:
        iteration: number of the merge, from 0.
        pair: group indices just before the merge, the smaller first.
        cost: the change of the MDL that it brought, per sample.
        mdl_loss_norm: the MDL after it, per sample.
        k_groups: the number of groups after it.
    """

    def __init__(
        self,
        engine: MergeEngine,
        memberships: Memberships,
        iteration: int,
        history_of: Callable[[int], MergeHistory],
    ) -> None:
        self._engine = engine
        self._memberships = memberships
        self._history_of = history_of
        self.iteration = iteration
        self.pair: MergePair = engine.pair(iteration)
        self.cost, self.mdl_loss_norm = engine.cost_and_mdl(iteration)
        self.k_groups = memberships.n_components - iteration - 1

    def group_merge(self) -> GroupMerge:
        """The partition after this merge."""
        n = self._memberships.n_components
        merges = pairs_to_component_merges(self._engine.pairs()[: self.iteration + 1], n)
        return GroupMerge(group_idxs_at(merges, n, [self.iteration])[0], self.k_groups)

    def coactivation(self) -> np.ndarray:
        """(k, k) float64: on how many samples two groups are active together after this merge, s on the diagonal."""
        if self._engine.n_done == self.iteration + 1 and self._engine.keeps_all:
            return self._engine.coactivation()
        return group_coactivation(self._memberships, self.group_merge())

    def costs(self) -> np.ndarray:
        """(k, k) the cost of each merge that could be next, per sample (`compute_merge_costs`)."""
        coactivation = self.coactivation() / self._memberships.n_samples
        return compute_merge_costs(coactivation, self.group_merge(), self._engine.options.alpha)

    def history(self) -> MergeHistory:
        """Everything up to this merge."""
        return self._history_of(self.iteration + 1)


LogCallback = Callable[[MergeStep], object]


@interrupts_kept()
def merge_iteration(
    merge_config: MergeConfig,
    activations: "Tensor | np.ndarray | csr_array | Memberships",
    component_labels: Sequence[str],
    log_callback: LogCallback | None = None,
    *,
    rng: np.random.Generator | None = None,
    run_options: MergeRunOptions = MergeRunOptions(),
) -> MergeHistory:
    """Merge groups of components, starting with every component alone.

    Args:
        merge_config: how pairs are chosen and how many merges are made (fewer when no pair is left).
        activations: (samples, n_components) importances, or memberships; left unchanged. Boolean input is taken as it
            is, else a component is active above merge_config.activation_threshold (None: soft, by probabilistic OR).
        component_labels: one for each component.
        log_callback: called after every merge with a `MergeStep`.
        rng: where the sampler's randomness comes from; None: a fresh generator.
        run_options: checkpoints, progress, memory, and options beside the config.

    Returns:
        The history, exactly as long as the number of merges made. On Ctrl-C (with a checkpoint also on SIGTERM) it
        holds what was done so far, and `is_complete` is False.

    Raises:
        ActivationsError: no component, no sample, fewer samples than ranks, or values that cannot be memberships.
        LostRankError: another rank has ended, or cannot be reached, or merges something else.
        DamagedCheckpointError: the checkpoint is not whole.
        SPDError: the checkpoint belongs to another merge, or cannot be written.
    """
    memberships = Memberships.from_activations(activations, component_labels, merge_config.activation_threshold)
    ranks = run_options.ranks
    _check_mergeable(memberships, merge_config, ranks)
    options = _engine_options(merge_config, run_options, memberships)
    fingerprint = None
    if run_options.checkpoint_path is not None or ranks.size > 1:
        fingerprint = fingerprint_of(memberships, options)
        check_same(ranks, fingerprint)
    engine = MergeEngine(memberships, options, rng if rng is not None else np.random.default_rng(), ranks)
    checkpoint = None
    if run_options.checkpoint_path is not None and fingerprint is not None:
        checkpoint = Checkpoint(run_options.checkpoint_path, fingerprint)
        checkpoint.resume(engine)

    def history_of(n_merges: int, *, is_complete: bool = False) -> MergeHistory:
        return _history(engine, memberships.labels, merge_config, run_options.merge_options, n_merges, is_complete)

    observe = None
    if log_callback is not None and ranks.rank == 0:

        def observe(iteration: int) -> None:
            log_callback(MergeStep(engine, memberships, iteration, history_of))

    outcome = drive_engine(
        engine,
        observe,
        next_state=run_options.next_state,
        checkpoint=checkpoint,
        progress=run_options.progress,
        stop_at_minimum=run_options.merge_options.stop_at_mdl_minimum,
    )
    history = history_of(outcome.n_merges, is_complete=outcome.is_complete)
    if ranks.rank == 0:
        warn_of_result(history, memberships)
    return history


def compile_merge(merge_config: MergeConfig, activations: np.ndarray, labels: Sequence[str], *, starts: bool) -> None:
    """Compile one of two parts of what a merge calls, so that two processes can compile them at the same time.

    Args:
        activations, labels: as for `merge_iteration`; a few are enough.
        starts: what comes before the first merge, and most of a merge; else what chooses a pair and merges it.
    """
    memberships = Memberships.from_activations(activations, labels, merge_config.activation_threshold)
    options = _engine_options(merge_config, MergeRunOptions(), memberships)
    MergeEngine.compile_merges(memberships, options, choose_pairs=not starts)
    if starts:
        MergeEngine(memberships, options, np.random.default_rng(0))


def _history(
    engine: MergeEngine,
    labels: list[str],
    config: MergeConfig,
    options: MergeOptions,
    n_merges: int,
    is_complete: bool,
) -> MergeHistory:
    """The first merges of an engine."""
    considered = engine.results(kernel.CONSIDERED)[:n_merges]
    return MergeHistory(
        labels,
        config,
        engine.pairs()[:n_merges],
        engine.results(kernel.COST)[:n_merges],
        engine.results(kernel.MDL)[:n_merges],
        engine.initial_mdl,
        details=HistoryDetails(options, None if np.isnan(considered).all() else considered, is_complete),
    )


def _check_mergeable(memberships: Memberships, config: MergeConfig, ranks: Ranks) -> None:
    if memberships.n_components == 0:
        raise ActivationsError(
            f"no component is left to merge: {len(memberships.dead_labels)} were filtered out as dead by "
            f"filter_dead_threshold = {config.filter_dead_threshold}"
        )
    if memberships.n_samples == 0:
        raise ActivationsError("activations hold no sample")
    if memberships.n_samples < ranks.size:
        raise ActivationsError(
            f"{memberships.n_samples} samples cannot be divided over {ranks.size} ranks: each needs one at least"
        )
    if memberships.nnz == 0 and ranks.rank == 0:
        above = (
            "0" if config.activation_threshold is None else f"activation_threshold = {config.activation_threshold:g}"
        )
        warnings.warn(
            f"no component is active on any of {memberships.n_samples} samples: no activation is above {above}, so the "
            "groups mean nothing",
            stacklevel=3,
        )
    for block in memberships.blocks() if memberships.is_soft else ():
        if block.values is not None and block.values.max(initial=0) > 1:
            place = int(block.values.argmax())
            raise ActivationsError(
                f"soft activations (activation_threshold: null) must be at most 1, but component "
                f"{memberships.labels[block.indices[place]]} has {block.values[place]:g}"
            )


def _engine_options(config: MergeConfig, run_options: MergeRunOptions, memberships: Memberships) -> EngineOptions:
    limit, n_members = run_options.merge_options.memory_limit_gb, run_options.n_parallel_members
    n = memberships.n_components
    size = MergeSize(memberships.n_samples, n, memberships.nnz / memberships.n_samples, memberships.is_soft)
    left, needed = available_memory() / n_members, size.sample_bytes(run_options.ranks.size)
    if needed > left:
        logger.warning(
            "the merge holds %s of samples and this process may take %s more: it may be killed; fewer side by side, or "
            "samples divided over more machines (--distributed), take less",
            byte_count(needed),
            byte_count(left),
        )
    memory = max(0.0, left - needed) * MEMORY_SHARE if limit is None else limit * 1e9 / n_members
    return EngineOptions(
        sampler=config.merge_pair_sampling_method,
        parameter=next(iter(config.merge_pair_sampling_kwargs.values())),
        alpha=config.alpha,
        n_merges=config.get_num_iters(n),
        need_active=run_options.merge_options.require_coactivation,
        memory=int(memory),
        n_threads=run_options.n_threads or max(1, available_cores() // n_members),
    )
