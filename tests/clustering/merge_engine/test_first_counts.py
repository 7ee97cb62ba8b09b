"""The coactivations before the first merge: read by stretches, counted in blocks, always those of the definition."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.math import sample_blocks
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine import own_samples
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from spd.errors import DamagedFileError
from tests.clustering.merge_engine.test_engine import sample
from tests.planted import memberships_of


def engine_of(memberships: Memberships, n_threads: int) -> MergeEngine:
    rules = EngineOptions("range", 0.0, 1.0, memberships.n_components - 1, n_threads=n_threads, use_bits=False)
    return MergeEngine(memberships, rules, np.random.default_rng(0))


def dense_counts(memberships: Memberships) -> np.ndarray:
    values = np.zeros((memberships.n_samples, memberships.n_components))
    rows = np.repeat(np.arange(memberships.n_samples), np.diff(memberships.indptr))
    values[rows, memberships.indices] = 1 if memberships.values is None else memberships.values
    together = values.T @ values
    np.fill_diagonal(together, values.sum(axis=0))
    return together


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_in_blocks_and_stretches_of_any_size(monkeypatch: pytest.MonkeyPatch, soft: bool, n_threads: int) -> None:
    memberships = sample(90, 700, soft=soft)
    expected = dense_counts(memberships)
    for block_entries, min_samples in ((1, 1), (100, 50), (3000, 333)):
        monkeypatch.setattr(sample_blocks, "BLOCK_ENTRIES", block_entries)
        monkeypatch.setattr(own_samples, "MIN_SAMPLES", min_samples)
        engine = engine_of(memberships, n_threads)
        np.testing.assert_allclose(engine.coactivation(), expected, rtol=1e-6 if soft else 0)
        state = engine.state
        starts, lengths = state.segments[kernel.SEG_START], state.segments[kernel.SEG_LEN]
        for g in range(90):
            own = state.seg_samples[starts[g] : starts[g] + lengths[g]]
            active = np.repeat(np.arange(700), np.diff(memberships.indptr))[memberships.indices == g]
            np.testing.assert_array_equal(own, active)


def test_blocks_are_of_several_samples_where_there_are_many_entries() -> None:
    """6,000,000 samples with 200 of 10,000 components: some hundred blocks; 100,000 with 50 of them: one."""
    assert 200 < 6_000_000 / sample_blocks.block_samples(10_000, 6_000_000, 1_200_000_000) < 400
    assert sample_blocks.block_samples(10_000, 100_000, 5_000_000) == 100_000
    assert sample_blocks.block_samples(30_000, 1_000_000, 10_000_000) == 1_000_000


def test_more_samples_together_than_two_bytes_count() -> None:
    rng = np.random.default_rng(0)
    active = np.ones((140_000, 4), bool)
    active[:, 1] = rng.random(140_000) < 0.7
    active[:, 3] = rng.random(140_000) < 0.001
    memberships = memberships_of(active)
    engine = engine_of(memberships, 2)
    assert engine.coactivation()[0, 2] == 140_000
    np.testing.assert_array_equal(engine.coactivation(), dense_counts(memberships))


def test_entries_that_are_not_those_that_were_written(tmp_path: Path) -> None:
    """As many on each sample, as where the k greatest activations are kept: sizes and structure are right."""
    for seed, name in enumerate(("one", "other")):
        order = np.random.default_rng(seed).random((200, 12)).argsort(axis=1)
        memberships_of(order < 3).save(tmp_path / name)
    engine_of(Memberships.open(tmp_path / "one"), 1)
    shutil.copy(tmp_path / "other" / "part-00000.indices.npy", tmp_path / "one")
    with pytest.raises(DamagedFileError, match="one: its entries are not those that were written"):
        engine_of(Memberships.open(tmp_path / "one"), 1)
