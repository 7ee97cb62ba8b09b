"""Memberships as small dense matrices that a figure can show: evenly spread samples, components in blocks."""

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.memberships import Memberships
from spd.clustering.plotting.style import spread

MAX_ROWS = 20_000
MAX_ENTRIES = 5_000_000


def spread_rows(memberships: Memberships, max_rows: int = MAX_ROWS) -> Int[np.ndarray, "rows"]:
    """Evenly spread samples, as many as figures need and take little time: at most MAX_ENTRIES active entries."""
    mean_active = max(memberships.nnz / max(memberships.n_samples, 1), 1.0)
    return spread(memberships.n_samples, max(min(max_rows, int(MAX_ENTRIES / mean_active)), 1))


def entries_of(
    memberships: Memberships, rows: Int[np.ndarray, "rows"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(position in `rows`, component, value or None) of each active entry of these samples."""
    block = memberships.rows(rows)
    position = np.repeat(np.arange(len(rows)), np.diff(block.indptr))
    return position, block.indices, None if block.values is None else block.values.astype(np.float64)


def group_activity(
    memberships: Memberships, rows: Int[np.ndarray, "rows"], group_of: Int[np.ndarray, "n_components"], n_groups: int
) -> Float[np.ndarray, "rows n_groups"]:
    """How active each group is on each of these samples: 1 where any of its components is; for soft memberships the
    probabilistic or, 1 - prod (1 - x). A component with group -1 is left out."""
    position, components, values = entries_of(memberships, rows)
    groups = group_of[components]
    is_shown = groups >= 0
    cell = position[is_shown] * n_groups + groups[is_shown]
    if values is None:
        active = np.zeros(len(rows) * n_groups, np.float32)
        active[cell] = 1
    else:
        with np.errstate(divide="ignore"):
            log_inactive = np.log1p(-np.minimum(values[is_shown], 1.0))
        active = -np.expm1(np.bincount(cell, log_inactive, len(rows) * n_groups)).astype(np.float32)
    return active.reshape(len(rows), n_groups)


def block_cosines(
    memberships: Memberships, rows: Int[np.ndarray, "rows"], order: Int[np.ndarray, "n_components"], n_blocks: int
) -> Float[np.ndarray, "n_blocks n_blocks"]:
    """Coactivation c_ij / sqrt(s_i s_j), averaged over blocks of neighbours in `order`; the diagonal of single
    components is 1. Components that are inactive on these samples count 0.

    The mean over a block of pairs is the product of the mean normalised columns, so no n x n matrix is made.
    """
    position, components, values = entries_of(memberships, rows)
    weights = np.ones(len(components)) if values is None else values
    norms = np.sqrt(np.bincount(components, weights**2, memberships.n_components))
    block_of = blocks_of(order, n_blocks)
    sizes = np.bincount(block_of, minlength=n_blocks)
    scaled = weights / norms[components] / sizes[block_of[components]]
    cell = position * n_blocks + block_of[components]
    means = np.bincount(cell, scaled, len(rows) * n_blocks).reshape(len(rows), n_blocks).astype(np.float32)
    return means.T @ means


def blocks_of(order: Int[np.ndarray, "n_components"], n_blocks: int) -> Int[np.ndarray, "n_components"]:
    """For each component the block that it is in, when `order` is cut into blocks of nearly equal length."""
    block_of = np.empty(len(order), np.int64)
    block_of[order] = np.arange(len(order)) * n_blocks // max(len(order), 1)
    return block_of
