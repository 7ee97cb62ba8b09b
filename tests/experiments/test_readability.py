"""The measure of readable groups, by hand and on planted firings."""

import numpy as np
import pytest

from benchmarks.readability import group_firings, median_token_entropy, spans, token_entropy
from spd.clustering.groups import find_groups
from spd.clustering.groups.columns import as_boolean


def test_entropy_by_hand() -> None:
    assert token_entropy(np.array([7, 7, 7])) == 0
    assert token_entropy(np.array([1, 2, 3, 4] * 5)) == pytest.approx(2)
    assert token_entropy(np.array([1, 1, 2, 3])) == pytest.approx(1.5)
    assert token_entropy(np.array([], int)) == 0


def test_planted_groups_have_the_entropy_of_their_tokens() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 16, 4000)
    # Two components on tokens 0 and 1, two on tokens 4 to 7, one alone.
    active = np.stack([tokens < 2, tokens < 2, tokens // 4 == 1, tokens // 4 == 1, rng.random(4000) < 0.1], 1)
    labels = ["h.0.attn.q_proj:0", "h.1.mlp.c_fc:0", "h.0.mlp.c_fc:0", "h.0.mlp.down_proj:0", "h.1.attn.o_proj:0"]
    memberships = as_boolean(active, labels)
    groups = find_groups(memberships, control=False)
    firings = group_firings(groups, memberships)
    assert [sorted(groups.members(group)) for group in firings.groups] == [[2, 3], [0, 1]]
    np.testing.assert_array_equal(firings.fires, active[:, [2, 0]])
    assert median_token_entropy(firings, tokens, 1) == pytest.approx(2, abs=0.01)
    assert median_token_entropy(firings, tokens) == pytest.approx(1.5, abs=0.01)
    assert [spans(groups, group) for group in firings.groups] == [(1, False), (2, True)]
