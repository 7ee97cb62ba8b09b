"""Planted memberships: groups of components that fire together, heavy-tailed in size and rate, with a little noise."""

from collections.abc import Iterator

import numpy as np

from spd.clustering.memberships import Memberships


def planted_memberships(n_components: int, n_samples: int, n_active: float, seed: int = 0) -> Memberships:
    """Memberships in which about n_active components are active on a sample; O(nonzeros) memory.

    Groups of 1 to 60 components (Pareto sizes); group rates fall as rank^-0.8, scaled to the activity asked for and at
    most 0.6; when its group fires, a component is active with a probability of its own in 0.5 .. 1. A few of all
    entries are active at random.
    """
    rng = np.random.default_rng(seed)
    sizes, rates = _groups(n_components, n_samples, n_active, rng)
    columns = []
    for rate, size in zip(rates, sizes, strict=True):
        fires = np.flatnonzero(rng.random(n_samples, dtype=np.float32) < rate).astype(np.int32)
        for keep in rng.uniform(0.5, 1, size=size):
            noise = rng.integers(0, n_samples, rng.poisson(n_samples * 2e-5), dtype=np.int32)
            columns.append(np.union1d(fires[rng.random(len(fires), dtype=np.float32) < keep], noise))
    return _from_columns(columns, n_samples)


def planted_blocks(
    n_components: int, n_samples: int, n_active: float, seed: int = 0, block: int = 100_000
) -> Iterator[Memberships]:
    """The same kind of memberships, `block` samples at a time: memory does not grow with their number."""
    rng = np.random.default_rng(seed)
    sizes, rates = _groups(n_components, n_samples, n_active, rng)
    keeps = [rng.uniform(0.5, 1, size=size) for size in sizes]
    for first in range(0, n_samples, block):
        n = min(block, n_samples - first)
        columns = []
        for rate, group in zip(rates, keeps, strict=True):
            fires = np.flatnonzero(rng.random(n, dtype=np.float32) < rate).astype(np.int32)
            for keep in group:
                active = fires[rng.random(len(fires), dtype=np.float32) < keep]
                noise = rng.integers(0, n, rng.poisson(n * 2e-5), dtype=np.int32)
                columns.append(np.union1d(active, noise) if len(noise) else active)
        yield _from_columns(columns, n)


def _groups(
    n_components: int, n_samples: int, n_active: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sizes, and how often each fires."""
    sizes = _group_sizes(n_components, rng)
    rates = 1.0 / np.arange(1, len(sizes) + 1) ** 0.8
    rng.shuffle(rates)
    for _ in range(20):  # clipping lowers the sum, so scale again
        rates = np.clip(rates * n_active / (rates * sizes * 0.75).sum(), 2 / n_samples, 0.6)
    return sizes, rates


def _group_sizes(n_components: int, rng: np.random.Generator) -> np.ndarray:
    sizes: list[int] = []
    left = n_components
    while left > 0:
        sizes.append(min(int(rng.pareto(1.2) + 1), 60, left))
        left -= sizes[-1]
    return np.array(sizes)


def _from_columns(columns: list[np.ndarray], n_samples: int) -> Memberships:
    lengths = np.zeros(n_samples, np.int64)
    for column in columns:
        lengths[column] += 1
    indptr = np.zeros(n_samples + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    cursor = indptr[:-1].copy()
    indices = np.empty(indptr[-1], np.int32)
    for component, column in enumerate(columns):
        indices[cursor[column]] = component
        cursor[column] += 1
    labels = [f"planted:{component}" for component in range(len(columns))]
    return Memberships(indptr, indices, None, labels)
