"""How far a group's firing is that of all its components, and what its stable parts do, each against plain numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.limits import Limits
from spd.clustering.report.make import smaller
from spd.clustering.report.parts import stable_parts
from spd.clustering.report.samples import Samples
from tests.clustering.report.fixtures import N_COMPONENTS, grouping_of, language_samples, toy_samples

GROUPS = [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5]
PARTS = np.array([8, 3, 8, -1, 3, 5, 5, 6, -1, -1, -1, -1])
"""Group 0 has two parts and a component in none, group 1 is a part as a whole, group 2 has half a part."""


def content_of(samples: Samples) -> dict[str, Any]:
    grouping = replace(grouping_of(GROUPS), parts=PARTS)
    return build_content(grouping, samples, Subject(model={}, settings={}))


@pytest.fixture(scope="module")
def samples() -> Samples:
    return language_samples()


@pytest.fixture(scope="module")
def content(samples: Samples) -> dict[str, Any]:
    return content_of(samples)


def test_how_many_components_are_active_at_once(content: dict[str, Any], samples: Samples) -> None:
    active = samples.memberships.to_scipy().toarray() > samples.threshold
    for group in content["groups"]:
        n_active = active[:, np.array(GROUPS) == group["id"]].sum(axis=1)
        mean = n_active[n_active > 0].mean() if n_active.any() else 0
        assert group["mean_active"] == pytest.approx(mean, rel=1e-5)
        assert group["most_rate"] == pytest.approx((n_active > group["size"] / 2).mean(), rel=1e-5)
        assert group["any_rate"] == group["firing_rate"]


def test_each_part_has_its_own_rate_tokens_and_places(content: dict[str, Any], samples: Samples) -> None:
    values = samples.memberships.to_scipy().toarray()
    assert samples.tokens is not None
    tokens = samples.tokens.reshape(-1)
    parts = {group["id"]: group["parts"] for group in content["groups"]}
    assert [(part["part"], part["size"]) for part in parts[0]] == [(3, 2), (8, 2)]
    assert (parts[1], parts[3]) == ([], [])
    assert [part["part"] for part in parts[2]] == [6]
    for part in parts[0]:
        inside = values[:, part["part"] == PARTS]
        fires = (inside > samples.threshold).any(axis=1)
        strength = np.where(fires, inside.mean(axis=1, dtype=np.float64), -1)
        assert part["firing_rate"] == pytest.approx(fires.mean(), rel=1e-5)
        assert part["n_firing"] == fires.sum()
        assert part["max_strength"] == pytest.approx(strength.max(), rel=1e-5)
        best = np.argsort(-strength, kind="stable")[:3]
        assert [sample for sample, _ in part["strongest"]] == best.tolist()
        np.testing.assert_allclose([value for _, value in part["strongest"]], strength[best], atol=6e-4)
        first = part["tokens"][0]
        here = fires & (tokens == first["id"])
        assert first["weight"] == pytest.approx(strength[here].sum() / strength[fires].sum(), rel=1e-4)
        shares = np.bincount(tokens[fires]) / fires.sum()
        assert part["token_entropy"] == pytest.approx(
            -(shares[shares > 0] * np.log2(shares[shares > 0])).sum(), rel=1e-5
        )


def test_parts_of_a_toy_model_and_of_no_samples() -> None:
    toy = content_of(toy_samples())
    group = next(group for group in toy["groups"] if group["id"] == 0)
    assert [part["token_entropy"] for part in group["parts"]] == [None, None]
    assert {part["part"]: part["tokens"][0]["id"] for part in group["parts"]} == {8: 0, 3: 0}
    bare = build_content(replace(grouping_of(GROUPS), parts=PARTS), None, Subject(model={}, settings={}))
    assert all("parts" not in group for group in bare["groups"])
    assert "parts" not in build_content(grouping_of(GROUPS), toy_samples(), Subject({}, {}))["groups"][0]


def test_parts_come_by_size_then_by_number() -> None:
    found = stable_parts(np.array([4, 2, 4, -1, 2, 9, 9, 9]))
    assert [(number, places.tolist()) for number, places in found] == [(9, [5, 6, 7]), (2, [1, 4]), (4, [0, 2])]
    assert stable_parts(np.zeros(3, int)) == []
    assert stable_parts(np.full(3, -1)) == []
    assert len(PARTS) == N_COMPONENTS


def test_a_smaller_report_has_fewer_places_of_parts(content: dict[str, Any]) -> None:
    less = smaller(content, Limits(2, 0, 1))
    assert [len(part["strongest"]) for part in less["groups"][0]["parts"]] == [1, 1]
    assert [len(part["strongest"]) for part in content["groups"][0]["parts"]] == [3, 3]
