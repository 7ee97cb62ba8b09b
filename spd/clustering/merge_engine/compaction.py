"""Renumbers the containers when many are dead: shorter tables, and room to keep more rows of coactivation."""

import numpy as np

from spd.clustering.math.workers import Workers
from spd.clustering.merge_engine.kernels import samples
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.kernels.state import State
from spd.clustering.merge_engine.representation import row_id_type, rows_that_fit


def compacted(state: State, memory: int, workers: Workers) -> State:
    """The same groups in containers 0 .. k - 1, in group order.

    Memberships are renumbered in place, so `state` cannot be used any more. Rows of coactivation that were kept stay,
    and there is room for more, as far as `memory` (bytes) allows: `fill_rows` fills them, once `state` is gone.
    """
    k, n = int(state.at[kernel.K_ALIVE]), state.ints.shape[1]
    alive = state.ints[kernel.ALIVE, :k].copy()
    new_of = np.full(n, -1, np.int64)
    new_of[alive] = np.arange(k)
    samples.renumber_rows(state, new_of)
    state.at[kernel.MARKED] = -1
    state.marks[:] = -1  # they name containers by their old numbers
    ints = np.ascontiguousarray(state.ints[:, alive])  # fancy indexing may return another layout
    ints[kernel.ALIVE] = np.arange(k)
    partner = ints[kernel.PARTNER]
    partner[partner >= 0] = new_of[partner[partner >= 0]]
    old_kept = ints[kernel.KEPT].copy()
    rows, kept, n_free = _moved_rows(state, alive, old_kept, rows_that_fit(k, state.rows.itemsize, memory), workers)
    ints[kernel.KEPT] = kept
    ints[kernel.FREE, :n_free] = np.arange(len(rows) - n_free, len(rows))
    state.at[kernel.N_FREE] = n_free
    return state._replace(
        row_ids=state.row_ids.astype(row_id_type(k), copy=False),
        bits=np.ascontiguousarray(state.bits[alive]) if state.bits.size else state.bits,
        ints=ints,
        floats=np.ascontiguousarray(state.floats[:, alive]),
        rows=rows,
        spare=np.zeros((2, k), rows.dtype),
        scratch=np.zeros(k),
    )


def _moved_rows(
    state: State, alive: np.ndarray, old_kept: np.ndarray, capacity: int, workers: Workers
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows for the live containers only: the array, which row each has (-1: none), how many at the end are free."""
    k = len(alive)
    holders = np.flatnonzero(old_kept >= 0)
    rows = np.zeros((max(capacity, len(holders)), k), state.rows.dtype)
    kept = np.full(k, -1, np.int64)
    kept[holders] = np.arange(len(holders))
    places = old_kept[holders]
    workers(
        lambda first, last: samples.gather_rows(state.rows, places[first:last], alive, rows[first:last]),
        len(holders),
    )
    return rows, kept, len(rows) - len(holders)
