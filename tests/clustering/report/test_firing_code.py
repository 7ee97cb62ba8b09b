"""When the groups of a consensus fire: against planted firings, against the groups of `find_groups`, and against the
code computed plainly, sample by sample."""

from dataclasses import replace

import numpy as np
import pytest

from spd.clustering.groups import find_groups
from spd.clustering.memberships import Memberships
from spd.clustering.report import firing_code
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.firing_code import MIN_SAMPLES, any_rule, code_rule, fitted, thinning, with_code
from spd.clustering.report.grouping import ANY, POSTERIOR, Grouping, from_groups
from spd.clustering.report.samples import Samples, firing_of

N_SAMPLES, SIZES = 6000, (10, 6, 4)
LABELS = [f"h.0.mlp:{i}" for i in range(sum(SIZES) + 1)]
GROUP_OF = np.repeat(np.arange(4), [*SIZES, 1])
P, Q, RATES = 0.7, 0.03, (0.03, 0.05, 0.08)


@pytest.fixture(scope="module")
def fires() -> np.ndarray:
    """(n_samples, 3) when each planted group fires."""
    return np.random.default_rng(0).random((N_SAMPLES, 3)) < RATES


@pytest.fixture(scope="module")
def active(fires: np.ndarray) -> np.ndarray:
    """(n_samples, n): with probability P where the group fires, with Q elsewhere; the last component is alone."""
    rates = np.where(fires, P, Q)[:, np.minimum(GROUP_OF, 2)]
    rates[:, -1] = 0.1
    return np.random.default_rng(1).random(rates.shape) < rates


@pytest.fixture(scope="module")
def samples(active: np.ndarray) -> Samples:
    return Samples(Memberships.from_activations(active.astype(np.float32), LABELS, None), 0.5, "matrix")


@pytest.fixture(scope="module")
def consensus() -> Grouping:
    return Grouping(LABELS, GROUP_OF, np.arange(4), "consensus", parts=np.where(GROUP_OF == 1, 5, -1))


def fired(grouping: Grouping, samples: Samples, group: int) -> np.ndarray:
    members = grouping.members[group]
    return firing_of(samples.columns, members, grouping.weights[members], float(grouping.biases[group])).fired


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return len(np.intersect1d(one, other)) / len(np.union1d(one, other))


def test_planted_firings_are_seen_where_a_union_is_not(
    samples: Samples, consensus: Grouping, fires: np.ndarray
) -> None:
    coded = fitted(consensus, samples)
    assert coded.firing_rule == POSTERIOR
    for group in range(3):
        truth = np.flatnonzero(fires[:, group])
        assert overlap(fired(coded, samples, group), truth) > (0.97, 0.9, 0.75)[group]
        assert overlap(fired(consensus, samples, group), truth) < 0.5


def test_it_fires_where_the_group_found_in_a_run_fires(samples: Samples, active: np.ndarray) -> None:
    groups = find_groups(active, LABELS, control=False)
    found = from_groups(groups)
    assert sorted(groups.sizes.tolist()) == sorted([*SIZES, 1])
    coded = with_code(replace(found, firing_rule=ANY, weights=np.zeros(0)), samples)
    for group in range(found.n_groups):
        assert overlap(fired(found, samples, group), fired(coded, samples, group)) > 0.98


def test_the_code_agrees_with_itself_computed_plainly(samples: Samples, active: np.ndarray) -> None:
    """Rates counted by the posteriors, sample by sample, give the weights and the bias again."""
    inside = active[:, :10]
    weights, bias = code_rule(samples.columns, np.arange(10), N_SAMPLES)
    posterior = np.array([1 / (1 + np.exp(-(bias + weights[row].sum()))) for row in inside])
    rate = posterior.mean()
    p = (posterior[:, None] * inside).sum(axis=0) / posterior.sum()
    q = ((1 - posterior)[:, None] * inside).sum(axis=0) / (1 - posterior).sum()
    assert rate == pytest.approx(RATES[0], rel=0.15)
    np.testing.assert_allclose(p, P, atol=0.12)
    np.testing.assert_allclose(q, Q, atol=0.02)
    np.testing.assert_allclose(weights, np.log(p * (1 - q) / (q * (1 - p))), rtol=0.02)
    assert bias == pytest.approx(np.log(rate / (1 - rate)) + np.log((1 - p) / (1 - q)).sum(), rel=0.02)


def test_what_has_no_code_fires_with_any_component(samples: Samples, consensus: Grouping) -> None:
    coded = with_code(consensus, samples)
    alone = len(LABELS) - 1
    assert (coded.weights[alone], coded.biases[3]) == (1.0, -0.5)
    few = np.zeros((100, 2), bool)
    few[: MIN_SAMPLES - 1] = True
    columns = Samples(Memberships.from_activations(few, LABELS[:2], None), 0.5, "matrix").columns
    weights, bias = code_rule(columns, np.arange(2), 100)
    assert (weights.tolist(), bias) == (any_rule(2)[0].tolist(), -0.5)
    never = Samples(Memberships.from_activations(np.eye(3, 4, dtype=bool), LABELS[:4], None), 0.5, "matrix").columns
    assert code_rule(never, np.array([3]), 3)[1] == -0.5


def test_fewer_samples_give_nearly_the_same_rule(samples: Samples) -> None:
    members = np.arange(10)
    whole, thinned = (code_rule(samples.columns, members, N_SAMPLES, step) for step in (1, 2))
    firings = [firing_of(samples.columns, members, *rule).fired for rule in (whole, thinned)]
    assert overlap(*firings) > 0.97


def test_thinning_keeps_all_positions_of_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that fires at every eighth place alone, which every second or fourth sample would miss."""
    active = np.zeros((6000, 2), bool)
    active[3::8] = True
    memberships = Memberships.from_activations(active, LABELS[:2], None)
    samples = Samples(memberships, 0.5, "language", tokens=np.zeros((750, 8), int))
    monkeypatch.setattr(firing_code, "MAX_ENTRIES", 800)  # of 1,500
    assert thinning(samples) == 3
    rule = code_rule(samples.columns, np.arange(2), 6000, 3)
    assert rule[1] != any_rule(2)[1]
    np.testing.assert_array_equal(firing_of(samples.columns, np.arange(2), *rule).fired, np.arange(3, 6000, 8))
    assert thinning(replace(samples, tokens=None)) == 2


def test_only_a_consensus_is_fitted(samples: Samples, consensus: Grouping) -> None:
    mapping = replace(consensus, parts=None)
    assert fitted(mapping, samples) is mapping
    assert fitted(consensus, None) is consensus


def test_the_report_of_a_consensus_says_its_rule(samples: Samples, consensus: Grouping, fires: np.ndarray) -> None:
    content = build_content(fitted(consensus, samples), samples, Subject({}, {}))
    assert content["settings"]["firing_rule"] == POSTERIOR
    largest = content["groups"][0]
    assert largest["firing_rate"] == pytest.approx(fires[:, 0].mean(), rel=0.05)
    assert largest["any_rate"] > 5 * largest["firing_rate"]
    split = replace(consensus, parts=np.where(np.arange(len(LABELS)) < 5, 2, -1))
    part = build_content(fitted(split, samples), samples, Subject({}, {}))["groups"][0]["parts"][0]
    assert (part["part"], part["size"]) == (2, 5)
    assert part["firing_rate"] == pytest.approx(fires[:, 0].mean(), rel=0.25)
