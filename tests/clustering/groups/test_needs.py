"""What a search for groups is said to take, against what it takes."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.groups import find_groups
from spd.clustering.groups.needs import search_bytes
from spd.clustering.memberships import Memberships
from tests.planted import memberships_of


def on_disk(directory: Path, n_samples: int, n_groups: int, size: int, rate: float) -> Memberships:
    rng = np.random.default_rng(0)
    firing = rng.random((n_samples, n_groups)) < rate
    memberships_of(np.repeat(firing, size, axis=1) & (rng.random((n_samples, n_groups * size)) < 0.8)).save(directory)
    return Memberships.open(directory)


@pytest.mark.parametrize(
    ("n_samples", "n_groups", "size", "rate"), [(20_000, 20, 5, 0.5), (60_000, 100, 6, 0.08), (2_000, 600, 4, 0.01)]
)
def test_memory(tmp_path: Path, n_samples: int, n_groups: int, size: int, rate: float) -> None:
    """Numpy's arrays, which tracemalloc sees; those that kernels make for one group at a time are small beside them."""
    memberships = on_disk(tmp_path / "m", n_samples, n_groups, size, rate)
    mean_active = memberships.nnz / n_samples
    find_groups(memberships, n_threads=1)  # what is made once and kept is not counted
    tracemalloc.start()
    find_groups(memberships, n_threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = search_bytes(n_samples, memberships.n_components, mean_active)
    assert 0.5 * said < peak < 1.25 * said
