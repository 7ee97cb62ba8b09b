"""The sweep over alpha: planted groups are found, degenerate answers are not recommended."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from spd.clustering.consensus import cut_members, find_consensus
from spd.clustering.consensus.sweep import AlphaResult, recommend, sweep_alphas
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.errors import SPDError
from tests.clustering.histories import assert_same
from tests.planted import memberships_of, planted

CONFIG = MergeConfig(merge_pair_sampling_kwargs={"threshold": 0.001})


def groups_of(n_groups: int, size: int, n_copies: int = 0) -> tuple[Memberships, np.ndarray]:
    """Groups of equal size with a little noise, then exact copies of the first components; and their groups."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(n_groups), size)
    x = planted(rng, 3000, truth, np.full(n_groups, 0.05), 0.8)
    x |= rng.random(x.shape) < 0.001
    return memberships_of(np.hstack([x, x[:, :n_copies]])), np.concatenate([truth, truth[:n_copies]])


def result(alpha: float, agreement: float, saved: float) -> AlphaResult:
    return AlphaResult(float(alpha), 10.0, 2.0, 5.0, agreement, agreement, agreement, 0.1, 3, 0.5, saved)


def test_the_recommended_alpha_finds_the_planted_groups_though_extremes_agree_as_well() -> None:
    memberships, truth = groups_of(12, 5, n_copies=4)
    results, histories = sweep_alphas(memberships, CONFIG, [0.0, 2.0, 100_000.0], [0, 1, 2])
    by_alpha = {r.alpha: r for r in results}
    assert by_alpha[0.0].largest == 64, "alpha 0 puts everything together"
    assert by_alpha[0.0].agreement == pytest.approx(1)
    assert by_alpha[100_000.0].agreement == pytest.approx(1), "copies are joined at any alpha, and nothing else is"
    assert by_alpha[100_000.0].n_groups == 60
    advice = recommend(results)
    assert advice.alpha == 2.0
    assert advice.candidates == [2.0]
    found = find_consensus(cut_members(histories[2.0]))
    order = [int(label.split(":")[1]) for label in found.labels]
    assert adjusted_mutual_info_score(truth[order], found.consensus) > 0.99


def test_nothing_is_recommended_for_noise() -> None:
    x = np.random.default_rng(0).random((500, 30)) < 0.05
    memberships = memberships_of(x)
    results, _ = sweep_alphas(memberships, CONFIG, [1.0, 10.0], [0, 1, 2])
    advice = recommend(results)
    assert advice.alpha is None
    assert advice.reason.startswith("None can be recommended")


@pytest.mark.slow
def test_processes_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    memberships, _ = groups_of(5, 3)
    alone, histories = sweep_alphas(memberships, CONFIG, [1.0, 5.0], [3, 4])
    parallel, same_histories = sweep_alphas(memberships, CONFIG, [1.0, 5.0], [3, 4], n_workers=2)
    assert alone == parallel
    for alpha in (1.0, 5.0):
        for one, other in zip(histories[alpha], same_histories[alpha], strict=True):
            assert_same(one, other)
    assert not list(tmp_path.rglob("memberships.npz")), "what the processes read is removed"


def test_a_process_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    memberships, _ = groups_of(5, 3)
    soft = Memberships(
        memberships.indptr, memberships.indices, np.full(memberships.nnz, 2, np.float32), memberships.labels
    )
    config = CONFIG.model_copy(update={"activation_threshold": None})
    with pytest.raises(SPDError, match=r"alpha 1, seed \d: .*must be at most 1"):
        sweep_alphas(soft, config, [1.0], [3, 4], n_workers=2)


def test_soft_memberships_are_swept_too() -> None:
    boolean, _ = groups_of(5, 3)
    dense = boolean.to_scipy().toarray() * np.random.default_rng(0).uniform(0.6, 1, (3000, 15))
    memberships = Memberships.from_activations(dense.astype(np.float32), boolean.labels, None)
    results, _ = sweep_alphas(memberships, CONFIG.model_copy(update={"activation_threshold": None}), [1.0], [0, 1])
    assert results[0].saved > 0.3


def test_how_an_alpha_is_chosen() -> None:
    advice = recommend([result(0, 1.0, 0.0), result(1, 0.9, 0.5), result(5, 0.99, 0.48), result(50, 1.0, 0.1)])
    assert (advice.alpha, advice.candidates) == (5, [1, 5])
    assert "agreement on a degenerate answer" in advice.reason
    edge = recommend([result(1, 0.99, 0.5), result(5, 0.9, 0.5)])
    assert edge.alpha == 1
    assert "It is the smallest that was tried: try smaller ones too." in edge.reason
    ties = recommend([result(1, 0.99, 0.50), result(2, 0.99, 0.51), result(5, 0.9, 0.5)])
    assert ties.alpha == 2
    assert "(as much at 1)" in ties.reason
    assert recommend([result(1, 0.4, 0.5), result(5, 0.3, 0.5)]).alpha is None
    assert recommend([result(1, 1.0, -0.1), result(5, 1.0, 0.0)]).alpha is None


def test_bad_lists_are_refused() -> None:
    memberships, _ = groups_of(2, 2)
    for alphas, seeds in (([], [0, 1]), ([-1.0], [0, 1]), ([1.0, 1.0], [0, 1]), ([1.0], [0]), ([1.0], [2, 2])):
        with pytest.raises(SPDError, match=r"expected different numbers|at least 2 different seeds"):
            sweep_alphas(memberships, CONFIG, alphas, seeds)
