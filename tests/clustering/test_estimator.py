from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from spd.clustering.compute_costs import compute_mdl_cost
from spd.clustering.estimator import MDLClustering
from spd.clustering.math.merge_matrix import GroupMerge
from spd.errors import ActivationsError, ConfigError


@parametrize_with_checks([MDLClustering(random_state=0), MDLClustering(activation_threshold=0.5, alpha=0.1)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


TRUE_GROUPS = [0, 1, 0, 2, 1, 0, 2, -1]


def _planted(dtype: type = np.float32) -> np.ndarray:
    """Three groups whose components are always active together, and a component that is never active."""
    rng = np.random.default_rng(0)
    active = rng.random((400, 3)) < 0.1
    matrix = active[:, TRUE_GROUPS] * rng.uniform(0.2, 1.0, (400, 8))
    matrix[:, 7] = 0
    return matrix.astype(dtype)


def _same_partition(first: np.ndarray, second: list[int]) -> bool:
    pairs = set(zip(first.tolist(), second, strict=True))
    return len(pairs) == len(set(second)) == len(set(first.tolist()))


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.coo_array, torch.from_numpy, pd.DataFrame])
def test_planted_groups_are_found(convert: Callable) -> None:
    model = MDLClustering(random_state=0).fit(convert(_planted()))
    assert _same_partition(model.labels_, TRUE_GROUPS)
    assert model.labels_[7] == -1
    assert model.n_groups_ == 3
    assert model.alive_.tolist() == [True] * 7 + [False]
    assert model.history_.labels == [f"features:{index}" for index in range(7)]
    assert len(model.history_) == 6


def test_the_groups_have_the_least_description_length_on_the_path() -> None:
    matrix = _planted()[:, :7] > 0.01
    model = MDLClustering(random_state=0).fit(matrix)

    def length(merge: GroupMerge) -> float:
        return compute_mdl_cost((matrix @ merge.to_matrix().T).sum(axis=0), merge)

    costs = [length(model.history_[iteration].merges) for iteration in range(len(model.history_))]
    assert length(GroupMerge(model.labels_, model.n_groups_)) <= min(costs) + 1e-9


def test_n_groups_cuts_the_merges() -> None:
    for n_groups in range(1, 8):
        model = MDLClustering(n_groups=n_groups, random_state=0).fit(_planted())
        assert model.n_groups_ == n_groups
        assert sorted(set(model.labels_.tolist())) == [-1, *range(n_groups)]
    with pytest.raises(ConfigError, match="no state with 8 groups, the merges of 7 components went down to 1"):
        MDLClustering(n_groups=8).fit(_planted())
    too_few = r"no state with 2 groups, the merges of 7 components went down to 4"
    with pytest.warns(UserWarning, match="cut too early"), pytest.raises(ConfigError, match=too_few):
        MDLClustering(n_groups=2, iters=3).fit(_planted())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_transform_is_the_greatest_of_each_group(dtype: type) -> None:
    matrix = _planted(dtype)
    model = MDLClustering(random_state=0).fit(matrix)
    expected = np.stack([matrix[:, model.labels_ == group].max(axis=1) for group in range(3)], axis=1)
    assert np.array_equal(model.transform(matrix), expected)
    assert model.transform(matrix).dtype == dtype
    sparse = model.transform(sp.csr_array(matrix))
    assert sp.issparse(sparse)
    assert np.array_equal(sparse.toarray(), expected)
    assert model.get_feature_names_out().tolist() == ["mdlclustering0", "mdlclustering1", "mdlclustering2"]


def test_column_names_become_labels() -> None:
    frame = pd.DataFrame(_planted(), columns=[f"layer.{index % 2}:{index}" for index in range(8)])
    assert MDLClustering().fit(frame).history_.labels == list(frame.columns[:7])
    frame.columns = [f"latent {index}" for index in range(8)]
    assert MDLClustering().fit(frame).history_.labels[0] == "features:0"


def test_in_a_pipeline_and_cloned() -> None:
    model = make_pipeline(MaxAbsScaler(), MDLClustering(alpha=1.5, random_state=0))
    assert model.fit_transform(_planted()).shape == (400, 3)
    assert clone(model[-1]).get_params()["alpha"] == 1.5


def test_random_state_decides() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.random((50, 12)) < 0.3
    options = {"merge_pair_sampling_method": "mcmc", "random_state": 3}
    first, second = (MDLClustering(**options).fit(matrix).history_ for _ in range(2))
    assert np.array_equal(first.selected_pairs, second.selected_pairs)
    other = MDLClustering(merge_pair_sampling_method="mcmc", random_state=4).fit(matrix).history_
    assert not np.array_equal(first.selected_pairs, other.selected_pairs)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1}, "MDLClustering: alpha"),
        ({"activation_threshold": -2.0}, "MDLClustering: activation_threshold"),
        ({"merge_pair_sampling_method": "best"}, "MDLClustering: merge_pair_sampling_method"),
        ({"n_groups": 0}, "n_groups must be positive or None, got 0"),
    ],
)
def test_parameters_that_cannot_be(parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MDLClustering(**parameters).fit(_planted())


def test_data_that_cannot_be() -> None:
    with pytest.raises(ActivationsError, match="no component is alive"):
        MDLClustering().fit(np.zeros((3, 2)))
    with pytest.raises(ActivationsError, match="must be at most 1"):
        MDLClustering(activation_threshold=None).fit(np.full((3, 2), 1.5))
    with pytest.raises(ValueError, match="Negative values"):
        MDLClustering().fit(np.full((3, 2), -1.0))
