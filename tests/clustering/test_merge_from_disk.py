"""A merge and its groups are the same wherever the memberships lie."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.groups import find_groups
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge import MergeRunOptions, merge_iteration
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_engine.checkpoint import fingerprint_of
from spd.clustering.merge_engine.coactivation import group_coactivation
from spd.clustering.merge_engine.engine import EngineOptions


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.math.sparse_rows.CHUNK", 256)


def _planted(n_samples: int = 400) -> np.ndarray:
    """(n_samples, 24) in [0, 1]: six groups of four."""
    rng = np.random.default_rng(3)
    fires = rng.random((n_samples, 6)) < 0.15
    active = np.repeat(fires, 4, axis=1) & (rng.random((n_samples, 24)) < 0.9)
    active |= rng.random((n_samples, 24)) < 0.01
    return np.where(active, rng.uniform(0.3, 1, active.shape), 0).astype(np.float32)


@pytest.mark.parametrize("threshold", [None, 0.1])
@pytest.mark.parametrize("memory_limit_gb", [None, 1e-6])
def test_everything_of_a_run_is_the_same(
    tmp_path: Path, threshold: float | None, memory_limit_gb: float | None
) -> None:
    matrix = _planted()
    in_memory = Memberships.from_activations(matrix, [f"m:{i}" for i in range(24)], threshold)
    in_memory.save(tmp_path / "m")
    config = MergeConfig(activation_threshold=threshold, iters=None)
    options = MergeRunOptions(MergeOptions(memory_limit_gb=memory_limit_gb))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        histories = [
            merge_iteration(config, some, in_memory.labels, rng=np.random.default_rng(0), run_options=options)
            for some in (in_memory, Memberships.open(tmp_path / "m"))
        ]
    assert np.array_equal(histories[0].selected_pairs, histories[1].selected_pairs)
    assert np.array_equal(histories[0].merge_pair_cost, histories[1].merge_pair_cost)
    assert np.array_equal(histories[0].mdl_loss_norm, histories[1].mdl_loss_norm)
    on_disk = Memberships.open(tmp_path / "m")
    rules = EngineOptions("range", 0.0, 1.0, 3)
    fingerprint = fingerprint_of(on_disk, rules)
    assert fingerprint == fingerprint_of(Memberships.open(tmp_path / "m"), rules)
    others = (on_disk.select(np.arange(24) > 0), on_disk.take_rows(np.arange(400)[::-1]))
    assert fingerprint not in [fingerprint_of(other, rules) for other in others]
    partition = GroupMerge(np.arange(24) // 5, 5)
    counted = group_coactivation(on_disk, partition)
    groups = np.stack(
        [1 - np.prod(1 - in_memory.to_scipy().toarray()[:, partition.group_idxs == g], 1) for g in range(5)]
    )
    expected = groups @ groups.T
    np.fill_diagonal(expected, groups.sum(axis=1))
    assert np.allclose(counted, expected, rtol=1e-5)


@pytest.mark.parametrize("threshold", [None, 0.1])
def test_groups_are_the_same(tmp_path: Path, threshold: float | None) -> None:
    in_memory = Memberships.from_activations(_planted(), [f"m:{i}" for i in range(24)], threshold)
    in_memory.save(tmp_path / "m")
    n_resamples = 2 if threshold is not None else 0
    found = [find_groups(some, n_resamples=n_resamples) for some in (in_memory, Memberships.open(tmp_path / "m"))]
    assert found[0].group_of.tolist() == found[1].group_of.tolist()
    assert found[0].confidence.tolist() == found[1].confidence.tolist()
    assert found[0].control == found[1].control
    assert found[0].source == found[1].source
