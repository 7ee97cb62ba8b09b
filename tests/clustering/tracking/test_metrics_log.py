"""metrics.jsonl against values computed afresh from the definition at every merge."""

import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.compute_costs import compute_mdl_cost
from spd.clustering.memberships import Memberships
from spd.clustering.merge import MergeStep, merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.tracking.metrics_log import MetricsLog, StepScalars, read_metrics, seconds_left, semilog
from spd.clustering.tracking.tensors import fraction_zero, step_tensors, summarise
from spd.errors import SPDError


@pytest.fixture(scope="module")
def memberships() -> Memberships:
    rng = np.random.default_rng(3)
    active = np.repeat(rng.random((200, 6)) < 0.15, 3, axis=1) & (rng.random((200, 18)) < 0.9)
    return Memberships.from_activations(active, [f"m:{i}" for i in range(18)], None)


def merge(memberships: Memberships, callback: object) -> None:
    merge_iteration(
        MergeConfig(iters=None, activation_threshold=0.5, alpha=0.7),
        memberships,
        memberships.labels,
        callback,  # type: ignore[arg-type]
        rng=np.random.default_rng(0),
    )


def test_scalars_are_those_of_the_state(memberships: Memberships) -> None:
    dense = memberships.to_scipy().toarray() > 0
    scalars = StepScalars(memberships.n_samples)
    n_seen = 0

    def check(step: MergeStep) -> None:
        nonlocal n_seen
        n_seen += 1
        found = scalars(step)
        groups = step.group_merge()
        sizes = np.bincount(groups.group_idxs, minlength=groups.k_groups)
        counts = np.array([dense[:, groups.group_idxs == g].any(axis=1).sum() for g in range(groups.k_groups)])
        mdl = compute_mdl_cost(counts, groups, 0.7)
        assert found["k_groups"] == groups.k_groups
        assert found["mdl_loss"] == pytest.approx(mdl)
        assert found["mdl_loss_norm"] == pytest.approx(mdl / 200)
        assert found["merge_pair_cost"] == step.cost
        assert found["fraction_singleton_groups"] == pytest.approx(np.mean(sizes == 1))
        assert found["num_nonsingleton_groups"] == np.sum(sizes > 1)

    merge(memberships, check)
    assert n_seen == 17


def test_tensors_are_those_of_the_state(memberships: Memberships) -> None:
    dense = memberships.to_scipy().toarray() > 0

    def check(step: MergeStep) -> None:
        if step.iteration not in (0, 7, 15):
            return
        groups = step.group_merge()
        active = np.array([dense[:, groups.group_idxs == g].any(axis=1) for g in range(groups.k_groups)], float)
        coactivation = active @ active.T
        pairs = coactivation[~np.eye(len(active), dtype=bool)]
        tensors, zero = step_tensors(step)
        np.testing.assert_array_equal(tensors["coactivation"], pairs)
        np.testing.assert_array_equal(tensors["group_activations"], active.sum(axis=1))
        sizes = np.bincount(groups.group_idxs)
        np.testing.assert_allclose(tensors["group_activations_over_sizes"], active.sum(axis=1) / sizes)
        np.testing.assert_allclose(tensors["group_sizes.log1p"], np.log1p(sizes))
        assert tensors["costs"].shape == pairs.shape
        assert zero == fraction_zero(step) == np.mean(pairs == 0)

    merge(memberships, check)


def test_a_summary_counts_every_finite_value() -> None:
    summary = summarise(np.array([[1.0, 2.0], [np.nan, 4.0]]))
    assert summary is not None
    assert sum(summary.counts) == 3
    assert summary.edges[0] == 1
    assert summary.edges[-1] == 4
    assert summary.statistics["median"] == 2
    assert summarise(np.array([np.nan])) is None
    constant = summarise(np.zeros(5))
    assert constant is not None
    assert sum(constant.counts) == 5


def test_a_large_array_is_sampled_but_its_range_is_exact() -> None:
    values = np.zeros(3_000_000)
    values[1_234_567] = 1e6
    summary = summarise(values)
    assert summary is not None
    assert summary.statistics["max"] == 1e6
    assert summary.statistics["mean"] == pytest.approx(1 / 3)
    assert sum(summary.counts) == 1_000_000


@pytest.mark.parametrize(
    ("value", "scaled"), [(0.0, 0.0), (5e-4, 5e-4), (1e-3, 1e-3), (1e-2, 2e-3), (-10.0, -5e-3), (math.inf, math.inf)]
)
def test_semilog(value: float, scaled: float) -> None:
    assert semilog(value) == pytest.approx(scaled)


def test_lines_are_written_and_a_later_process_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with MetricsLog(path, 10) as log:
        for iteration in range(6):
            log.write(iteration, {"k_groups": 10 - iteration, "cost": math.nan})
    with path.open("a") as file:
        file.write('{"iteration": 6, "k_gro')  # killed while it wrote
    with MetricsLog(path, 10) as log:  # the checkpoint was older than the last line
        for iteration in range(4, 8):
            log.write(iteration, {"k_groups": 100 + iteration})
    lines = read_metrics(path)
    assert [line["iteration"] for line in lines] == list(range(8))
    assert lines[3] | {"elapsed_s": 0} == {
        "iteration": 3,
        "n_iters": 10,
        "first_iteration": 0,
        "elapsed_s": 0,
        "k_groups": 7,
        "cost": None,
    }
    assert [line["k_groups"] for line in lines[4:]] == [104, 105, 106, 107]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_run_that_starts_over_leaves_nothing_of_the_old_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for _ in range(2):
        with MetricsLog(path, 3) as log:
            log.write(0, {"k_groups": 1})
            log.write(1, {"k_groups": 0})
    assert [line["iteration"] for line in read_metrics(path)] == [0, 1]


def test_time_left_is_that_of_this_process() -> None:
    line = {"iteration": 59, "n_iters": 100, "first_iteration": 50, "elapsed_s": 20.0}
    assert seconds_left(line) == pytest.approx(80.0)
    assert seconds_left({"iteration": 5}) is None


def write_lines(path: Path, n_lines: int) -> None:
    with MetricsLog(path, 10_000) as log:
        for k in range(1, n_lines):
            log.write(k, {"a": 1.0})


@pytest.mark.parametrize("n_lines", [3, 3000])
def test_a_full_disk_is_named(tmp_path: Path, n_lines: int) -> None:
    """Where a line is flushed, or when the file is closed; lines of before the checkpoint are whole in any case."""
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 10_000) as log:
        log.write(0, {"a": 1.0})
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(SPDError, match=r"metrics\.jsonl: cannot be written: File too large"):
            write_lines(path, n_lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_metrics(path)[0]["iteration"] == 0
