"""Features of components by the weights, and the purity of groups."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from spd.experiments.ground_truth import component_features, feature_by_scores, group_purity


def test_a_component_belongs_to_its_clear_best_feature() -> None:
    scores = np.array([[0.1, 2.0, 0.2], [1.0, 0.9, 0.0], [0.0, 0.0, 3.0], [0.001, 0.0, 0.0]])
    assert feature_by_scores(scores) == [1, None, 2, None]


def test_one_feature_leaves_nothing_to_confuse_it_with() -> None:
    assert feature_by_scores(np.array([[2.0], [0.01]])) == [0, None]


def test_pure_and_complete_groups() -> None:
    features = {"m:0": 0, "n:0": 0, "m:1": 1, "n:1": 1}
    found = group_purity([["m:0", "n:0"], ["m:1", "n:1"]], features)
    assert (found.purity, found.completeness, found.adjusted_rand) == (1.0, 1.0, 1.0)
    assert (found.n_pure_and_complete, found.n_features, found.n_without_feature) == (2, 2, 0)


def test_purity_and_completeness_by_hand() -> None:
    features: dict[str, int | None] = {"a:0": 0, "a:1": 0, "a:2": 1, "a:3": 1, "a:4": 2, "a:5": None}
    found = group_purity([["a:0", "a:1", "a:2"], ["a:3"], ["a:4", "a:5"]], features)
    assert found.purity == pytest.approx(4 / 5)  # two of three, one of one, one of one
    assert found.completeness == pytest.approx(4 / 5)  # two of two, one of two, one of one
    assert found.n_pure_and_complete == 1
    assert found.n_without_feature == 1


def test_adjusted_rand_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for n_groups, n_features in itertools.product((1, 2, 5), (1, 3, 6)):
        groups, features = rng.integers(n_groups, size=30), rng.integers(n_features, size=30)
        labels = [[f"m:{i}" for i in np.flatnonzero(groups == group)] for group in range(n_groups)]
        found = group_purity(labels, {f"m:{i}": int(feature) for i, feature in enumerate(features)})
        assert found.adjusted_rand == pytest.approx(adjusted_rand_score(features, groups), abs=1e-12)


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(ValueError, match=r"'m:9'"):
        group_purity([["m:9"]], {"m:0": 0})


def test_groups_without_any_known_feature_are_refused() -> None:
    with pytest.raises(ValueError, match="no component in these groups"):
        group_purity([["m:0"]], {"m:0": None})


def test_another_family_is_refused(golden) -> None:
    with pytest.raises(ValueError, match="residual MLP"):
        component_features(golden / "runs" / "tms_5-2" / "spd_run")
