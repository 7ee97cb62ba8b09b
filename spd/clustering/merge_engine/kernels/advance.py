"""Many merges in one call, one function a sampler, so that only what is used is compiled.

Each makes up to n_merges merges. It stops earlier with at[ENDED] set when no pair is left that may be merged, and
with at[WAITING_I] set when a merge is so large that its samples should be joined by several threads; the matching
`finish` function completes that one.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.bounds import cheapest_pair, row_of, update_bounds
from spd.clustering.merge_engine.kernels.join import in_order, is_put_off, join_groups, join_samples
from spd.clustering.merge_engine.kernels.mcmc import add_weights, draw_by_weight, drop_weights
from spd.clustering.merge_engine.kernels.range import draw_in_range
from spd.clustering.merge_engine.kernels.rank import draw_by_rank
from spd.clustering.merge_engine.kernels.ranks import sum_join
from spd.clustering.merge_engine.kernels.samples import close_samples
from spd.clustering.merge_engine.kernels.state import (
    ALIVE,
    CONSIDERED,
    DONE,
    ENDED,
    K_ALIVE,
    WAITING_I,
    WAITING_J,
    WAITING_SHARE,
)


@helper()
def merge_and_update(state, p, q, considered):
    """Merge two groups and restore the bounds; False: the merge waits. p is -1 when there is no pair."""
    if p < 0:
        state.at[ENDED] = 1
        return False
    i, j = in_order(state, p, q)
    if is_put_off(state, i, j, considered):
        return False
    row = join_groups(state, i, j, join_samples(state, i, j), considered)
    update_bounds(state, i, j, row)
    return True


@kernel()
def advance_greedy(state, n_merges):
    """Always the cheapest pair."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q = cheapest_pair(state)
        if not merge_and_update(state, p, q, np.nan):
            return


@kernel()
def advance_range(state, n_merges):
    """See merge_range."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q, considered = draw_in_range(state)
        if not merge_and_update(state, p, q, considered):
            return


@kernel()
def advance_rank(state, n_merges):
    """See merge_rank."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q = draw_by_rank(state)
        if not merge_and_update(state, p, q, np.nan):
            return


@kernel()
def advance_mcmc(state, n_merges):
    """See merge_mcmc."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q = draw_by_weight(state)
        if p < 0:
            state.at[ENDED] = 1
            return
        drop_weights(state, p, row_of(state, p))
        drop_weights(state, q, row_of(state, q))
        i, j = in_order(state, p, q)
        if is_put_off(state, i, j, np.nan):
            return
        add_weights(state, i, join_groups(state, i, j, join_samples(state, i, j), np.nan))


@kernel()
def replay(state, n_merges):
    """Make merges that are already noted once more; bounds and weights are left as they are."""
    for _ in range(n_merges):
        done = state.at[DONE]
        p = state.ints[ALIVE, state.pairs[done, 0]]
        q = state.ints[ALIVE, state.pairs[done, 1]]
        i, j = in_order(state, p, q)
        considered = state.results[CONSIDERED, done]
        if is_put_off(state, i, j, considered):
            return
        join_groups(state, i, j, join_samples(state, i, j), considered)


@kernel()
def finish_replay(state, common):
    """Complete the merge that waits, whose samples are joined now; returns its two containers and the row.

    Args:
        common: this rank's part of c_ij.
    """
    i = state.at[WAITING_I]
    j = state.at[WAITING_J]
    common = sum_join(state, i, j, common, close_samples(state, i, j))
    state.at[WAITING_I] = -1
    return i, j, join_groups(state, i, j, common, state.sums[WAITING_SHARE])


@kernel()
def finish_bounds(state, common):
    """The same, and restore the bounds."""
    i, j, row = finish_replay(state, common)
    update_bounds(state, i, j, row)


@kernel()
def finish_mcmc(state, common):
    """The same, and restore the weights."""
    i, _, row = finish_replay(state, common)
    add_weights(state, i, row)
