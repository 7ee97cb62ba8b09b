"""Small histories to test with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from tests.oracles.merge_paths import random_pairs


def random_history(
    n_components: int = 20,
    n_iters: int | None = None,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    **extra: Any,
) -> MergeHistory:
    """A random path of merges with costs that fit each other."""
    rng = np.random.default_rng(seed)
    n_iters = max(n_components - 1, 0) if n_iters is None else n_iters
    costs = rng.normal(size=n_iters)
    initial = 50.0
    return MergeHistory(
        list(labels or [f"layers.{c % 3}.mlp_in:{c // 3}" for c in range(n_components)]),
        MergeConfig(iters=None),
        random_pairs(rng, n_components, n_iters),
        costs,
        initial + costs.cumsum(),
        initial,
        **extra,
    )


def assert_same(found: MergeHistory, expected: MergeHistory) -> None:
    """Every field equal, costs to the bit."""
    assert found.labels == expected.labels
    assert found.merge_config == expected.merge_config
    assert found.merge_options == expected.merge_options
    assert found.is_complete == expected.is_complete
    assert found.initial_mdl_loss_norm == expected.initial_mdl_loss_norm
    assert np.array_equal(found.selected_pairs, expected.selected_pairs)
    assert np.array_equal(found.component_merges, expected.component_merges)
    for name in ("merge_pair_cost", "mdl_loss_norm", "considered_fraction"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        assert one is None or np.array_equal(one, other), name
