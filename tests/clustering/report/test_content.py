"""Every number of a report against the same number computed plainly, sample by sample, from the dense matrix."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spd.clustering.compute_costs import compute_merge_costs
from spd.clustering.groups import Groups
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.grouping import Grouping, from_groups, from_history, from_mapping, members_hash
from spd.clustering.report.limits import Limits
from spd.clustering.report.page import render_page
from spd.clustering.report.samples import Samples, firing_of
from spd.errors import SPDError
from tests.clustering.report.fixtures import (
    LABELS,
    LENGTH,
    N_COMPONENTS,
    grouping_of,
    history_of_pairs,
    language_samples,
    small_content,
    toy_samples,
)

GROUPS = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5]
NOTHING = Subject(model={}, settings={"alpha": 1.0})


def dense(samples: Samples) -> np.ndarray:
    return samples.memberships.to_scipy().toarray()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return language_samples()


@pytest.fixture(scope="module")
def content(samples: Samples) -> dict[str, Any]:
    return build_content(grouping_of(GROUPS), samples, NOTHING)


def fires_plainly(samples: Samples) -> np.ndarray:
    """(n_samples, k): any component of the group above the threshold."""
    active = dense(samples) > samples.threshold
    return np.stack([active[:, np.array(GROUPS) == g].any(axis=1) for g in range(max(GROUPS) + 1)], axis=1)


def test_groups_come_by_size_with_their_rates(content: dict[str, Any], samples: Samples) -> None:
    assert [group["id"] for group in content["groups"]] == [0, 2, 1, 3, 4, 5]
    rates = fires_plainly(samples).mean(axis=0)
    for group in content["groups"]:
        assert group["firing_rate"] == pytest.approx(rates[group["id"]], rel=1e-5)
        assert group["hash"] == members_hash(label for label, g in zip(LABELS, GROUPS, strict=True) if g == group["id"])


def test_tokens(content: dict[str, Any], samples: Samples) -> None:
    assert samples.tokens is not None
    flat, fires, importance = samples.tokens.reshape(-1), fires_plainly(samples), dense(samples)
    for group in content["groups"]:
        fired = fires[:, group["id"]]
        strength = importance[:, np.array(GROUPS) == group["id"]].mean(axis=1)
        shares = []
        for token in group["tokens"]:
            here = flat == token["id"]
            both = (here & fired).sum()
            assert token["count"] == both
            assert token["share"] == pytest.approx(both / fired.sum(), rel=1e-5)
            assert token["recall"] == pytest.approx(both / here.sum(), rel=1e-5)
            assert token["lift"] == pytest.approx(both / fired.sum() / here.mean(), rel=1e-5)
            assert token["weight"] == pytest.approx(strength[here & fired].sum() / strength[fired].sum(), rel=1e-4)
            shares.append(token["weight"] * np.log2(token["weight"] / here.mean()))
        assert shares == sorted(shares, reverse=True)
        counts = np.bincount(flat[fired])
        p = counts[counts > 0] / counts.sum()
        assert group["token_entropy"] == pytest.approx(-(p * np.log2(p)).sum(), rel=1e-5, abs=1e-12)


def test_next_tokens_end_with_the_sequence(content: dict[str, Any], samples: Samples) -> None:
    assert samples.tokens is not None
    following, n_known = {}, 0
    fired = fires_plainly(samples)[:, 0].reshape(-1, LENGTH)
    for row, fires in zip(samples.tokens, fired, strict=True):
        for here, then, on in zip(row, row[1:], fires, strict=False):
            del here
            if on:
                following[int(then)] = following.get(int(then), 0) + 1
                n_known += 1
    for token in content["groups"][0]["next_tokens"]:
        assert token["count"] == following[token["id"]]
        assert token["share"] == pytest.approx(following[token["id"]] / n_known, rel=1e-5)


def test_members_and_inside(content: dict[str, Any], samples: Samples) -> None:
    active, fires = dense(samples) > samples.threshold, fires_plainly(samples)
    for group in content["groups"]:
        fired = fires[:, group["id"]]
        joint = [(active[:, m["component"]] & fired).sum() for m in group["members"]]
        assert joint == sorted(joint, reverse=True)
        for member, both in zip(group["members"], joint, strict=True):
            own = active[:, member["component"]]
            assert member["rate"] == pytest.approx(own.mean(), rel=1e-5)
            assert member["given_group"] == pytest.approx(both / max(fired.sum(), 1), rel=1e-5)
            assert member["group_given"] == pytest.approx(both / own.sum() if own.any() else 0, rel=1e-5)
            assert member["jaccard"] == pytest.approx(both / max((own | fired).sum(), 1), rel=1e-5)
        if group["size"] > 1:
            columns = active[:, [member["component"] for member in group["members"]]].astype(int)
            np.testing.assert_array_equal(group["inside"]["both"], columns.T @ columns)


def test_groups_around(content: dict[str, Any], samples: Samples) -> None:
    fires = fires_plainly(samples).astype(np.int64)
    coactivation = fires.T @ fires
    merge = GroupMerge(np.array(GROUPS), max(GROUPS) + 1)
    costs = compute_merge_costs(coactivation / len(fires), merge, alpha=1.0)
    for group in content["groups"]:
        g = group["id"]
        either = coactivation[g, g] + np.diag(coactivation) - coactivation[g]
        jaccard = np.where(coactivation[g] > 0, coactivation[g] / np.maximum(either, 1), -1)
        jaccard[g] = -1
        best = [int(other) for other in np.argsort(-jaccard, kind="stable") if jaccard[other] > 0][:5]
        assert [other["group"] for other in group["around"]] == best
        for other in group["around"]:
            assert other["jaccard"] == pytest.approx(jaccard[other["group"]], rel=1e-5)
            assert other["both"] == pytest.approx(coactivation[g, other["group"]] / len(fires), rel=1e-5)
            assert other["cost"] == pytest.approx(costs[g, other["group"]], rel=1e-4)


def test_contexts(content: dict[str, Any], samples: Samples) -> None:
    importance, fires = dense(samples), fires_plainly(samples)
    for group in content["groups"]:
        inside = np.array(GROUPS) == group["id"]
        strength = importance[:, inside].mean(axis=1, dtype=np.float64)
        fired = np.flatnonzero(fires[:, group["id"]])
        top = [context for context in group["contexts"] if context["band"] == 0]
        assert [context["sample"] for context in top] == fired[np.argsort(-strength[fired], kind="stable")][
            :20
        ].tolist()
        seen = [context["sample"] for context in group["contexts"]]
        assert len(set(seen)) == len(seen)
        for context in group["contexts"]:
            at = context["sample"]
            assert at in fired
            first, last = max(at - 16, at - at % LENGTH), min(at + 16, at - at % LENGTH + LENGTH - 1)
            assert context["from"] == first
            np.testing.assert_allclose(context["around"], strength[first : last + 1], atol=6e-4)
            if context["band"]:
                low, high = [(0.5, 1), (0.25, 0.5), (0.125, 0.25), (0, 0.125)][context["band"] - 1]
                assert low - 1e-6 <= strength[at] / strength[fired].max() <= high + 1e-6
            active = [(component, value) for component, value in context["active"]]
            assert {c for c, _ in active} <= set(np.flatnonzero(inside & (importance[at] > samples.threshold)))


def test_a_group_of_one_that_never_fires(content: dict[str, Any]) -> None:
    group = content["groups"][-1]
    assert (group["size"], group["firing_rate"], group["tokens"], group["contexts"]) == (1, 0.0, [], [])
    assert group["verdict"] == "alone"


def test_features_of_a_toy_model() -> None:
    samples = toy_samples()
    assert samples.features is not None
    content = build_content(grouping_of([i // 2 for i in range(N_COMPONENTS)]), samples, NOTHING)
    for group in content["groups"]:
        fired = samples.features[:, group["id"]] > samples.threshold
        assert group["tokens"][0]["id"] == group["id"]
        assert group["tokens"][0]["share"] == 1.0
        assert group["tokens"][0]["mean"] == pytest.approx(samples.features[fired, group["id"]].mean(), rel=1e-4)
        assert group["inside"]["mean_jaccard"] == 1.0
        assert group["verdict"] == "tight"


def test_reasons_of_the_merges(samples: Samples) -> None:
    history = history_of_pairs(last=8)
    content = build_content(from_history(history, 8, "cut"), samples, Subject({}, {"alpha": 1.0}, history=history))
    largest = content["groups"][0]
    active = dense(samples) > samples.threshold
    assert [merge["iteration"] for merge in largest["merges"]] == [0, 1, 2, 6, 7]
    assert [(merge["size_a"], merge["size_b"]) for merge in largest["merges"]] == [(1, 1)] * 3 + [(2, 2), (4, 2)]
    parts = {component: active[:, component] for component in range(N_COMPONENTS)}
    for merge in largest["merges"]:
        a, b = parts[merge["a"]], parts[merge["b"]]
        assert merge["both"] == pytest.approx((a & b).mean(), rel=1e-5)
        assert merge["jaccard"] == pytest.approx((a & b).sum() / (a | b).sum(), rel=1e-5)
        assert merge["never_together"] == (not (a & b).any())
        parts[merge["a"]] = a | b
    assert content["merges"] == history.component_merges.tolist()


def test_a_history_of_fewer_components_gives_what_it_can(samples: Samples) -> None:
    history = history_of_pairs()
    grouping = grouping_of([0] * 6)
    content = build_content(grouping, samples_of(samples, 6), Subject({}, {}, history=history))
    # After the pairs (0 1) (2 3) (4 5) all three are joined with the first; of the other components nothing is told.
    assert content["merges"] == [[0, 1], [2, 3], [4, 5], [0, 2], [0, 4]]
    assert len(content["groups"][0]["merges"]) == 5


def samples_of(samples: Samples, n: int) -> Samples:
    mask = np.arange(N_COMPONENTS) < n
    return Samples(
        samples.memberships.select(mask), samples.threshold, "language", samples.tokens, decode=samples.decode
    )


GROUPS_BY_HAND = Groups(
    labels=LABELS[:3],
    group_of=np.array([0, 0, 1]),
    firing_rate=np.array([0.1, 0.5]),
    p_active=np.array([0.9, 0.9, 1.0]),
    p_noise=np.array([0.2, 0.2, 0.0]),
    confidence=np.array([0.8, 0.6, 1.0]),
    secondary=[(0, 1, 0.25)],
    nested=[(1, 0, 0.5)],
    joins=np.array([[0, 1], [0, 2]]),
    strength=np.array([0.5, -0.5]),
    n_samples=4,
    source="",
)
"""One group of two whose posterior needs both components, and one component alone."""


def test_firing_by_posterior() -> None:
    grouping = from_groups(GROUPS_BY_HAND)
    active = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], np.float32)
    from spd.clustering.memberships import Memberships

    samples = Samples(Memberships.from_activations(active, LABELS[:3], None), 0.5, "matrix")
    members = grouping.members[0]
    firing = firing_of(samples.columns, members, grouping.weights[members], float(grouping.biases[0]))
    expected = []
    for row in active[:, :2]:
        odds = 0.1 / 0.9
        for on, p, q in zip(row, (0.9, 0.9), (0.2, 0.2), strict=True):
            odds *= (p / q) if on else (1 - p) / (1 - q)
        expected.append(odds > 1)
    assert firing.fired.tolist() == np.flatnonzero(expected).tolist()
    content = build_content(grouping, samples, NOTHING)
    assert content["groups"][0]["confidence"] == pytest.approx(0.7)
    also = {member["component"]: member["also"] for member in content["groups"][0]["members"]}
    assert also == {0: [[1, 0.25]], 1: []}
    assert content["groups"][0]["verdict"] == "likely"
    assert (content["groups"][0]["holds"], content["groups"][1]["inside_of"]) == ([[1, 0.5]], [[0, 0.5]])
    assert content["merges"] == [[0, 1], [0, 2]]
    assert content["settings"]["firing_rule"] == "posterior above 1/2"


def test_mappings_keep_their_numbers() -> None:
    grouping = from_mapping({"a:0": 7, "a:1": None, "a:2": 7, "a:3": 2}, "mine")
    assert {label: int(grouping.ids[g]) for label, g in zip(grouping.labels, grouping.group_of, strict=True)} == {
        "a:0": 7,
        "a:1": 8,
        "a:2": 7,
        "a:3": 2,
    }
    for wrong in ({}, {"a:0": -1}, {"a:0": "x"}, {"a:0": True}):
        with pytest.raises(SPDError, match="mapping"):
            from_mapping(wrong, "mine")  # type: ignore[arg-type]


def test_without_samples_the_groups_are_still_told() -> None:
    content = build_content(grouping_of(GROUPS), None, NOTHING)
    assert [group["firing_rate"] for group in content["groups"]] == [None] * 6
    assert content["groups"][0]["members"][0]["label"] == LABELS[0]


def test_samples_of_other_components_are_refused(samples: Samples) -> None:
    with pytest.raises(SPDError, match="same components"):
        build_content(Grouping(LABELS[:2], np.array([0, 0]), np.array([0]), ""), samples, NOTHING)


def test_the_same_seed_gives_the_same_report() -> None:
    assert small_content() == small_content()


def test_smaller_limits_say_so(samples: Samples) -> None:
    content = build_content(grouping_of(GROUPS), samples, NOTHING, limits=Limits(4, 1, 1))
    assert sum(context["band"] == 0 for context in content["groups"][0]["contexts"]) == 4
    assert "4 strongest places" in content["left_out"][0]


def test_tokens_without_text_are_shown_by_number(samples: Samples) -> None:
    known = replace(samples, decode=lambda ids: [None if i == 3 else f"t{i}" for i in ids])
    content = build_content(from_history(history_of_pairs(), 6, ""), known, NOTHING)
    assert "3" not in content["token_texts"]
    assert content["token_texts"]["4"] == "t4"
    assert "1 of 20 tokens are shown by their numbers" in content["missing"][0]
    assert "#3" in render_page(content)

    def fail(ids: list[int]) -> list[str]:
        raise SPDError("the tokenizer is gone")

    content = build_content(from_history(history_of_pairs(), 6, ""), replace(samples, decode=fail), NOTHING)
    assert content["token_texts"] == {}
    assert content["missing"] == [
        "Tokens are shown by their numbers, since they cannot be decoded: the tokenizer is gone"
    ]
    assert content["groups"][0]["contexts"]


def test_tokens_before_begin_with_the_sequence(content: dict[str, Any], samples: Samples) -> None:
    assert samples.tokens is not None
    length = samples.tokens.shape[1]
    flat = samples.tokens.reshape(-1)
    values = samples.memberships.to_scipy().toarray()
    for group in content["groups"][:3]:
        inside = [member["component"] for member in group["members"]]
        fires = np.flatnonzero((values[:, inside] > samples.threshold).any(axis=1))
        before = [int(flat[at - 1]) for at in fires if at % length]
        assert len(group["previous_tokens"]) <= 6
        for token in group["previous_tokens"]:
            assert token["count"] == before.count(token["id"])
            assert token["share"] == pytest.approx(before.count(token["id"]) / len(before), rel=1e-5)


def test_components_that_are_seldom_together_are_remarked_on(content: dict[str, Any]) -> None:
    for group in content["groups"]:
        jaccard = group["inside"]["mean_jaccard"]
        is_seldom = jaccard is not None and jaccard < 0.2 and group["n_firing"] >= 10
        assert ("seldom together" in group["remarks"]) == is_seldom
