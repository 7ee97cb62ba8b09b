"""A merge in progress: makes merges, and answers what the state is now."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.compaction import compacted
from spd.clustering.merge_engine.join_large import join_large
from spd.clustering.merge_engine.kernels import advance, bounds, mcmc
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.kernels.state import State
from spd.clustering.merge_engine.own_samples import make_samples
from spd.clustering.merge_engine.ranks import ALONE, KernelSums, Ranks, from_first, of_all, own_samples
from spd.clustering.merge_engine.representation import (
    Plan,
    choose,
    count_rows,
    fill_rows,
    first_rows,
    float_table,
    int_table,
)
from spd.errors import LostRankError

COMPACT_AT = 0.5
"""The share of containers that are live when they are renumbered."""
COMPACT_FROM = 64
"""Fewer containers are not worth it."""
LARGE_ENTRIES = 2_000_000
"""A merge that reads so many entries of rows is shared between threads."""


@dataclass(frozen=True)
class EngineOptions:
    """What to do, apart from the data.

    Attributes:
        sampler: range, mcmc or exp_rank.
        parameter: threshold, temperature or decay.
        alpha: weight of a group's rank against its index.
        n_merges: how many to make, at most.
        need_active: only pairs that are active together may be merged.
        memory: bytes of coactivations that may be kept.
        n_threads: of the kernels that can be shared out.
        use_bits: bitsets instead of sparse rows; None: chosen by estimated work.
        large: merges that move so many samples are shared between threads; None: chosen by the length of the rows.
    """

    sampler: str
    parameter: float
    alpha: float
    n_merges: int
    need_active: bool = False
    memory: int = 1 << 33
    n_threads: int = 1
    use_bits: bool | None = None
    large: int | None = None


class MergeEngine:
    """Starts with every component alone; `advance` merges.

    Args:
        memberships: left unchanged. At least one component and one sample; soft values at most 1.
        options: what to do.
        rng: where the sampler's randomness comes from; used once, here.
        ranks: the processes over which the samples are divided. All give the same arguments; rank 0's options and
            random numbers hold where those of this machine or moment differ.

    Raises:
        DamagedFileError: memberships on disk are not what they should be.
    """

    def __init__(
        self, memberships: Memberships, options: EngineOptions, rng: np.random.Generator, ranks: Ranks = ALONE
    ) -> None:
        self._set_up(memberships, options, rng, ranks)
        first_rows(self.state, self._workers, ranks)
        self._start(self._workers)

    @classmethod
    def compile_merges(cls, memberships: Memberships, options: EngineOptions, *, choose_pairs: bool) -> None:
        """Compile what `advance` calls for such memberships, without a merge.

        Args:
            choose_pairs: False: only what `replay` calls, which is all but the choice of the pair.
        """
        engine = cls.__new__(cls)
        engine._set_up(memberships, options, np.random.default_rng(0), ALONE)
        make = _STEPS[engine._kernel_name][0] if choose_pairs else advance.replay
        make(engine.state, 0)

    def _set_up(self, memberships: Memberships, options: EngineOptions, rng: np.random.Generator, ranks: Ranks) -> None:
        """All but the first coactivations and what is known from them."""
        n = memberships.n_components
        options = replace(options, memory=int(of_all(ranks, options.memory).min()))
        plan = choose(memberships, options.memory)
        if options.use_bits is not None and not memberships.is_soft:
            plan = Plan(options.use_bits, plan.dtype, plan.n_rows)
        self.plan = plan
        self.options = options
        self.ranks = ranks
        self._is_moving = False
        shared: np.ndarray = np.zeros(n + kernel.SHARED_NUMBERS, plan.dtype)
        self._kernel_sums = KernelSums(ranks, shared)
        self._workers = Workers(options.n_threads)
        own_range = own_samples(ranks, memberships.n_samples)
        own_part = make_samples(memberships, plan.use_bits, own_range, self._workers)
        ints = int_table(own_part["segments"][kernel.SEG_LEN], ranks)
        if plan.use_bits:
            ints[kernel.SIZE] = memberships.counts
        else:
            memberships.check_entry_counts(ints[kernel.SIZE])
        activity = memberships.counts if memberships.is_soft else ints[kernel.SIZE]
        self.state = State(
            **own_part,
            ints=ints,
            floats=float_table(activity),
            rows=np.zeros((plan.n_rows, n), plan.dtype),
            spare=np.zeros((2, n), plan.dtype),
            scratch=np.zeros(n),
            shared=shared,
            pairs=np.zeros((options.n_merges, 2), np.int64),
            results=np.full((kernel.RESULT_ROWS, options.n_merges), np.nan),
            at=self._counters(memberships),
            sums=self._sums(memberships, activity),
            random=from_first(ranks, rng.integers(1, 2**63, size=4, dtype=np.uint64)),
        )
        self.initial_mdl = self.mdl

    @property
    def _kernel_name(self) -> str:
        return "greedy" if self.options.sampler == "range" and self.options.parameter == 0 else self.options.sampler

    def _counters(self, memberships: Memberships) -> np.ndarray:
        at = np.zeros(kernel.AT_SIZE, np.int64)
        at[kernel.K_ALIVE] = memberships.n_components
        at[kernel.NEED_ACTIVE] = self.options.need_active
        at[kernel.IS_SOFT] = memberships.is_soft
        at[kernel.IS_BITS] = self.plan.use_bits
        at[kernel.MARKED] = at[kernel.WAITING_I] = -1
        at[kernel.LARGE] = self.options.large or LARGE_ENTRIES * memberships.n_samples // max(1, memberships.nnz)
        at[kernel.HAS_UPPER] = self._kernel_name == "range"
        at[kernel.SUMMER] = self._kernel_sums.address
        at[kernel.N_RANKS] = self.ranks.size
        return at

    def _sums(self, memberships: Memberships, activity: np.ndarray) -> np.ndarray:
        sums = np.zeros(kernel.SUMS_SIZE)
        sums[kernel.TOTAL] = sums[kernel.RANKED] = activity.sum()
        sums[kernel.N_SAMPLES] = memberships.n_samples
        sums[kernel.ALPHA] = self.options.alpha
        sums[kernel.PARAMETER] = self.options.parameter
        sums[kernel.ROUNDER] = 1.5 * 2.0 ** memberships.n_samples.bit_length()
        sums[kernel.UPPER_L] = np.log2(max(int(0.9 * memberships.n_components) - 1, 1))
        return sums

    def _start(self, workers: Workers) -> None:
        """Bounds or weights before the first merge, exactly."""
        start = mcmc.start_weights if self.options.sampler == "mcmc" else bounds.start_bounds
        n = self.state.ints.shape[1]

        def task(first: int, last: int) -> None:
            start(self._with_own_buffers(), first, last)

        part = workers.part_of_rows(n)
        if self.ranks.size == 1 or self.keeps_all:
            workers(task, n, part)
            return
        for first in range(0, n, part * workers.n_threads):
            self._start_counted(start, first, min(first + part * workers.n_threads, n))

    def _start_counted(self, start: Any, first: int, last: int) -> None:
        """The same for groups first .. last - 1, whose rows are all counted and summed over ranks for it: threads could
        not ask for sums, whose order must be the same on every rank."""
        state = self.state
        kept = state.ints[kernel.KEPT].copy()
        rows = np.zeros((last - first, len(kept)), state.rows.dtype)
        counted = state._replace(rows=rows)
        wanted, places = np.arange(first, last), np.arange(last - first)
        count_rows(counted, wanted, places, self._workers, self.ranks)
        state.ints[kernel.KEPT, first:last] = places
        start(counted, first, last)
        state.ints[kernel.KEPT] = kept

    def _with_own_buffers(self) -> State:
        """The state for one of several threads."""
        return self.state._replace(spare=np.zeros_like(self.state.spare), scratch=np.zeros_like(self.state.scratch))

    def advance(self, n_merges: int) -> None:
        """Make up to n_merges merges; fewer when n_merges in all are done or no pair may be merged."""
        self._make(_STEPS[self._kernel_name], min(n_merges, self.options.n_merges - self.n_done))

    def replay(self, pairs: np.ndarray, results: np.ndarray) -> None:
        """Make merges that were made before, from the start. What is known of the rows is not kept up."""
        self.state.pairs[: len(pairs)] = pairs
        self.state.results[:, : len(pairs)] = results
        self._make((advance.replay, advance.finish_replay), len(pairs))

    def _make(self, step: tuple[Any, Any], n_merges: int) -> None:
        """Run kernels for n_merges merges, with the containers renumbered whenever enough of them are dead.

        Renumbering depends on the number of groups only, so that a replay does it at the same points.
        """
        make, finish = step
        until = self.n_done + n_merges
        while self.n_done < until and not self.is_finished:
            try:
                make(self.state, min(until - self.n_done, max(1, self.k_groups - self._compact_at)))
                if self._has_waiting:
                    finish(self.state, join_large(self.state, self._workers))
            except (RuntimeError, ValueError) as error:
                raise self._sum_error(error) from error
            if self.k_groups <= self._compact_at:
                self._compact()

    def _sum_error(self, error: Exception) -> BaseException:
        """What a kernel's error that no sum over ranks could be had means."""
        if self._kernel_sums.error is not None:
            return self._kernel_sums.error
        if self.ranks.size == 1 or not isinstance(error, ValueError):
            return error
        return LostRankError(
            f"after {self.n_done:,} merges the ranks chose different pairs: are their processors of different kinds?"
        )

    def _compact(self) -> None:
        self._is_moving = True
        try:
            self.state = compacted(self.state, self.options.memory, self._workers)
            fill_rows(self.state, self._workers, self.ranks)
        finally:
            self._is_moving = False

    @property
    def _compact_at(self) -> int:
        n = self.state.ints.shape[1]
        return int(COMPACT_AT * n) if n >= COMPACT_FROM else 0

    @property
    def _has_waiting(self) -> bool:
        return int(self.state.at[kernel.WAITING_I]) >= 0

    @property
    def is_busy(self) -> bool:
        """Whether a merge is half made, or the containers are being renumbered: an interrupt has to wait then. Kernels
        set what this looks at, so that nothing comes in between."""
        return self._is_moving or self._has_waiting or self.k_groups <= self._compact_at

    @property
    def n_done(self) -> int:
        """Merges made so far."""
        return int(self.state.at[kernel.DONE])

    @property
    def k_groups(self) -> int:
        """Groups left."""
        return int(self.state.at[kernel.K_ALIVE])

    @property
    def is_finished(self) -> bool:
        """Whether every merge asked for is made, or no pair is left that may be merged."""
        return self.n_done >= self.options.n_merges or bool(self.state.at[kernel.ENDED])

    @property
    def mdl(self) -> float:
        """Description length per sample, now."""
        sums = self.state.sums
        total = sums[kernel.TOTAL] * np.log2(self.k_groups) + self.options.alpha * sums[kernel.RANKED]
        return float(total / sums[kernel.N_SAMPLES])

    @property
    def keeps_all(self) -> bool:
        """Whether the coactivations of all groups are in memory."""
        return len(self.state.rows) >= self.state.ints.shape[1]

    def coactivation(self) -> np.ndarray:
        """(k, k) float64 coactivations now, s on the diagonal; only when `keeps_all`."""
        assert self.keeps_all, "rows are made on demand"
        alive = self.state.ints[kernel.ALIVE, : self.k_groups]
        matrix = self.state.rows[np.ix_(self.state.ints[kernel.KEPT, alive], alive)].astype(np.float64)
        np.fill_diagonal(matrix, self.state.floats[kernel.ACTIVITY, alive])
        return matrix

    def pair(self, iteration: int) -> tuple[int, int]:
        """Group indices before the merge number `iteration`, the smaller first."""
        low, high = self.state.pairs[iteration]
        return int(low), int(high)

    def cost_and_mdl(self, iteration: int) -> tuple[float, float]:
        """The cost of the merge number `iteration` and the MDL after it, per sample."""
        results = self.state.results
        return float(results[kernel.COST, iteration]), float(results[kernel.MDL, iteration])

    def pairs(self) -> np.ndarray:
        """(merges, 2) group indices before each merge made so far, the smaller first."""
        return self.state.pairs[: self.n_done].copy()

    def results(self, which: int) -> np.ndarray:
        """(merges,) COST, MDL or CONSIDERED (rows of `State.results`) of each merge made so far."""
        return self.state.results[which, : self.n_done].copy()


_STEPS = {
    "greedy": (advance.advance_greedy, advance.finish_bounds),
    "range": (advance.advance_range, advance.finish_bounds),
    "mcmc": (advance.advance_mcmc, advance.finish_mcmc),
    "exp_rank": (advance.advance_rank, advance.finish_bounds),
}
"""Many merges, and the completion of one that several threads have joined."""
