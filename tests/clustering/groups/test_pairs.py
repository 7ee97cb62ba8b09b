"""How often two are active together, and which other groups a component fires with, in blocks of any size."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from spd.clustering.groups import Groups, find_groups, secondary
from spd.clustering.groups.columns import columns_of
from spd.clustering.groups.pairs import Activity, Pairs, Report, counted_pairs, is_dense, listed_pairs
from spd.clustering.math import sample_blocks
from spd.clustering.math.workers import Workers
from tests.planted import memberships_of

PairsOf = Callable[[Activity, Workers, Report, int], Iterator[Pairs]]


def activity(active: np.ndarray) -> Activity:
    return columns_of(memberships_of(active), Workers(1))


def counts_of(active: np.ndarray, pairs: PairsOf, n_threads: int = 1, max_pairs: int = 1 << 23) -> np.ndarray:
    """(n, n) from the pairs, below the diagonal."""
    n = active.shape[1]
    found, told = np.zeros((n, n), np.int64), []
    for high, low, count in pairs(activity(active), Workers(n_threads), told.append, max_pairs):
        assert (count > 0).all()
        assert (found[high, low] == 0).all(), "a pair comes once"
        found[high, low] = count
    assert told == sorted(told)
    assert told[-1] == n
    return found


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("max_pairs", [1, 70, 1_000, 1 << 23])
@pytest.mark.parametrize(("pairs", "block_entries"), [(counted_pairs, 1), (counted_pairs, 300), (listed_pairs, 300)])
def test_pairs_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, n_threads: int, max_pairs: int, pairs: PairsOf, block_entries: int
) -> None:
    monkeypatch.setattr(sample_blocks, "BLOCK_ENTRIES", block_entries)
    rng = np.random.default_rng(0)
    active = rng.random((150, 90)) < rng.random(90) ** 3
    active[::7] = False
    active[[0, -1]] = True
    expected = np.tril(active.T.astype(int) @ active.astype(int), -1)
    np.testing.assert_array_equal(counts_of(active, pairs, n_threads, max_pairs), expected)


def test_more_samples_together_than_two_bytes_count() -> None:
    rng = np.random.default_rng(1)
    active = rng.random((140_000, 12)) < [1, 0.999, 0.7, 0.001, 1, 0.4, 0.5, 0.6, 0.9, 1, 1, 1]
    expected = np.tril(active.T.astype(int) @ active.astype(int), -1)
    assert expected.max() > 2 * 2**16
    for pairs in (counted_pairs, listed_pairs):
        np.testing.assert_array_equal(counts_of(active, pairs), expected)


def test_what_seldom_occurs_is_listed() -> None:
    rng = np.random.default_rng(3)
    few, many = (activity(rng.random((500, 300)) < rate) for rate in (0.01, 0.1))
    assert not is_dense(few)  # 0.05 samples a pair
    assert is_dense(many)  # 5


@pytest.mark.parametrize("n", [1, 2])
def test_few_components(n: int) -> None:
    active = np.ones((3, n), bool)
    for pairs in (counted_pairs, listed_pairs):
        np.testing.assert_array_equal(counts_of(active, pairs), np.tril(np.full((n, n), 3), -1))


def groups_that_overlap() -> Groups:
    """Components of one group fire with another one, too."""
    rng = np.random.default_rng(2)
    firing = rng.random((4_000, 12)) < 0.06
    active = np.repeat(firing, 5, axis=1)
    for group in range(6):
        active[:, 5 * group] |= firing[:, group + 6]
    return find_groups(active & (rng.random(active.shape) < 0.95), control=False, n_threads=2)


def test_secondary_memberships_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = groups_that_overlap().secondary
    assert [component for component, _, _ in expected] == [0, 5, 10, 15, 20, 25]
    for max_counts, block_entries in ((1, 1), (50, 100), (200, 1_000)):
        monkeypatch.setattr(secondary, "MAX_COUNTS", max_counts)
        monkeypatch.setattr(secondary, "BLOCK_ENTRIES", block_entries)
        assert groups_that_overlap().secondary == expected
