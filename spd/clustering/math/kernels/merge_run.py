"""Many merges in one call, one function a sampler, so that only what is used is compiled.

Each makes up to n_merges merges; it stops earlier, with at[ENDED] set, when no pair is left that may be merged.
"""

import numpy as np

from spd.clustering.math.kernels.merge_bounds import cheapest_pair, row_of, update_bounds
from spd.clustering.math.kernels.merge_jit import kernel
from spd.clustering.math.kernels.merge_join import join_groups
from spd.clustering.math.kernels.merge_mcmc import add_weights, draw_by_weight, drop_weights
from spd.clustering.math.kernels.merge_range import draw_in_range
from spd.clustering.math.kernels.merge_rank import draw_by_rank
from spd.clustering.math.kernels.merge_state import ALIVE, CONSIDERED, DONE, ENDED, K_ALIVE


@kernel()
def merge_and_update(state, p, q, considered):
    """Merge two groups and restore the bounds."""
    i, j, row = join_groups(state, p, q, considered)
    update_bounds(state, i, j, row)


@kernel()
def advance_greedy(state, n_merges):
    """Always the cheapest pair."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q = cheapest_pair(state)
        if p < 0:
            state.at[ENDED] = 1
            return
        merge_and_update(state, p, q, np.nan)


@kernel()
def advance_range(state, n_merges):
    """See merge_range."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q, considered = draw_in_range(state)
        if p < 0:
            state.at[ENDED] = 1
            return
        merge_and_update(state, p, q, considered)


@kernel()
def advance_rank(state, n_merges):
    """See merge_rank."""
    for _ in range(n_merges):
        if state.at[K_ALIVE] < 2:
            return
        p, q = draw_by_rank(state)
        if p < 0:
            state.at[ENDED] = 1
            return
        merge_and_update(state, p, q, np.nan)


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
        i, _, row = join_groups(state, p, q, np.nan)
        add_weights(state, i, row)


@kernel()
def replay(state, n_merges):
    """Make merges that are already noted once more; bounds and weights are left as they are."""
    for _ in range(n_merges):
        done = state.at[DONE]
        p = state.ints[ALIVE, state.pairs[done, 0]]
        q = state.ints[ALIVE, state.pairs[done, 1]]
        join_groups(state, p, q, state.results[CONSIDERED, done])
