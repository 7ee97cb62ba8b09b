"""Against the reference's runs on real decomposed models."""

from pathlib import Path

import numpy as np
import pytest

from spd.clustering.compute_costs import compute_mdl_cost, compute_merge_costs
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_engine.coactivation import group_coactivation

pytestmark = pytest.mark.slow

RUNS = [
    (run, name)
    for run in ("tms_5-2", "tms_5-2_preid", "resid_mlp1")
    for name in ("thr0.01_alpha1.0", "thr0.01_alpha0.1", "thr0.1_alpha1.0")
]


def load(golden: Path, run: str, name: str) -> tuple[Memberships, dict[str, np.ndarray], float]:
    directory = golden / "expected" / run
    with np.load(directory / f"merge_greedy_{name}.npz") as data:
        reference = dict(data)
    with np.load(directory / "ci.npz") as data:
        importances = {key.removeprefix("lower_leaky/"): data[key] for key in data if key.startswith("lower_leaky/")}
    threshold = float(name.split("_")[0].removeprefix("thr"))
    columns = {}
    for module, values in importances.items():
        flat = values.reshape(-1, values.shape[-1])
        columns.update({f"{module}:{i}": flat[:, i] for i in range(flat.shape[1])})
    labels = [str(label) for label in reference["labels"]]
    matrix = np.stack([columns[label] for label in labels], axis=1)
    return Memberships.from_activations(matrix, labels, threshold), reference, float(name.split("alpha")[1])


@pytest.mark.parametrize(("run", "name"), RUNS)
def test_teacher_forcing(golden: Path, run: str, name: str) -> None:
    """Along the reference's merges our costs and MDL are its own, to float32 rounding."""
    memberships, reference, alpha = load(golden, run, name)
    n_merges = int(reference["n_iters_current"])
    merge = GroupMerge.identity(memberships.n_components)
    n_samples = memberships.n_samples
    coact = group_coactivation(memberships, merge) / n_samples
    for t in range(n_merges):
        costs = compute_merge_costs(coact, merge, alpha)
        low, high = sorted(int(index) for index in reference["selected_pairs"][t])
        scale = np.abs(costs).max()
        assert costs[low, high] == pytest.approx(reference["pair_cost_f64"][t], abs=1e-6 * scale)
        assert costs[low, high] == pytest.approx(reference["pair_cost"][t], abs=1e-5 * scale)
        merge = merge.merge_groups(low, high)
        coact = group_coactivation(memberships, merge) / n_samples
        mdl = compute_mdl_cost(np.diagonal(coact), merge, alpha)
        assert mdl == pytest.approx(reference["mdl_loss_norm"][t], rel=1e-5)


@pytest.mark.parametrize(("run", "name"), [*RUNS, ("lm_kjv", "thr0.01_alpha1.0")])
def test_every_choice_is_a_minimum(golden: Path, run: str, name: str) -> None:
    memberships, reference, alpha = load(golden, run, name)
    config = MergeConfig(iters=None, alpha=alpha, merge_pair_sampling_kwargs={"threshold": 0.0})
    every = 1 if memberships.n_components < 200 else 37
    checked = []

    def check(step) -> None:
        before = check.costs
        if before is not None:
            off = before[~np.eye(len(before), dtype=bool)]
            tolerance = 1e-9 * np.abs(off).max()
            assert abs(before[step.pair] - step.cost) <= tolerance
            assert step.cost <= off.min() + tolerance
            checked.append(step.iteration)
        check.costs = step.costs() if (step.iteration + 1) % every == 0 and step.k_groups > 1 else None

    check.costs = None
    history = merge_iteration(config, memberships, memberships.labels, check)
    assert len(history) == memberships.n_components - 1
    assert len(checked) >= min(len(history), 5)
    first_tie = int(np.argmax(reference["n_considered"] > 2)) if (reference["n_considered"] > 2).any() else None
    same = slice(None, first_tie) if first_tie is not None else slice(None, int(reference["n_iters_current"]))
    ours = history.merge_pair_cost[: int(reference["n_iters_current"])][same]
    np.testing.assert_allclose(ours, reference["pair_cost_f64"][same], atol=1e-6 * np.abs(ours).max(initial=1))
