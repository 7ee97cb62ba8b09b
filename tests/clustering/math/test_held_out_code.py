"""Bits saved on samples that a partition was not made from."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from spd.clustering.math.held_out_code import saved_share


def plain_bits(x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """The same code, sample by sample."""
    bits = 0.0
    for group in np.unique(labels):
        members = np.flatnonzero(labels == group)
        fires = x[:, members].any(axis=1)
        p = (fires[train].sum() + 0.5) / (len(train) + 1)
        q = (x[train][:, members].sum(axis=0) + 0.5) / (fires[train].sum() + 1)
        for row in test:
            bits -= np.log2(p if fires[row] else 1 - p)
            if fires[row] and len(members) > 1:
                pattern = np.where(x[row, members], q, 1 - q)
                bits -= np.log2(pattern).sum() - np.log2(1 - np.prod(1 - q))
    return bits


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_code_sample_by_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.random((60, 8)) < 0.3
    x[:, 1] = x[:, 0] & (rng.random(60) < 0.9)
    labels = np.array([0, 0, 1, 1, 1, 2, 3, 4])
    train, test = rng.integers(40, size=50), np.arange(40, 60)
    sparse = csr_matrix(x)
    got = saved_share(sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), labels, train, test)
    alone = plain_bits(x, np.arange(8), train, test)
    assert got == pytest.approx(1 - plain_bits(x, labels, train, test) / alone)


def test_the_planted_partition_saves_most() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(10), 4)
    fires = rng.random((2000, 10)) < 0.1
    x = fires[:, truth] & (rng.random((2000, 40)) < 0.8)
    sparse = csr_matrix(x)
    arrays = sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32)
    train, test = np.arange(1000), np.arange(1000, 2000)
    partitions = {
        "truth": truth,
        "halves": np.repeat(np.arange(20), 2),
        "pairs of groups": truth // 2,
        "one": np.zeros(40, np.int64),
        "shuffled": rng.permutation(truth),
        "alone": np.arange(40),
    }
    saved = {name: saved_share(*arrays, labels, train, test) for name, labels in partitions.items()}
    assert max(saved, key=lambda name: saved[name]) == "truth"
    assert saved["alone"] == 0
    assert saved["one"] < 0.1
    assert saved["shuffled"] < 0
