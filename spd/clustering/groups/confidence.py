"""How sure a membership is: the share of memberships with the same evidence that were right, on planted data.

A logistic regression on what the search knows of a component. For a component in a group of two or more the confidence
is the share of the rest of its group that truly is with it; for one that is alone, the probability that it is with no
other. The weights were fitted on all kinds of benchmarks.recovery (300 components, seeds 0 and 1; 600, seed 3), made
steeper so that pairs of members come true as often as stated, and are judged on other seeds (docs/recovery.md).
"""

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.groups.columns import Columns
from spd.clustering.groups.cut import TreeCut
from spd.clustering.groups.describe import Description
from spd.clustering.groups.tree import Tree

MEMBER = np.array([1.073, 0.353, 0.033, 0.808, 0.212, 0.354])
"""Weights of `member_features`."""
ALONE = np.array([1.685, -0.187, -0.132, 0.182])
"""Weights of `alone_features`."""
EDGE = 1e-3
"""Shares are kept this far from 0 and 1."""


def confidence_of(
    columns: Columns, tree: Tree, cut: TreeCut, about: Description, group_of: Int64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    """The confidence of every component that takes part."""
    size = np.bincount(group_of)[group_of]
    member = _logistic(member_features(columns, about, group_of, size) @ MEMBER)
    return np.where(size > 1, member, _logistic(alone_features(columns, tree, cut) @ ALONE))


def member_features(
    columns: Columns, about: Description, group_of: Int64[np.ndarray, "n"], size: Int64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n 6"]:
    """1; the logit of Theil's coefficient of the component and the rest of its group; log(1 + bits of evidence for
    it); log of the group's size; the logit of p; the logit of the share of its activity that falls on the group's
    firings."""
    recall = about.rate[group_of] * about.p * columns.n_samples / columns.counts
    bits = np.log1p(np.maximum(about.evidence, 0))
    columns_of_features = [np.ones(columns.n), _logit(about.told), bits, np.log(size), _logit(about.p), _logit(recall)]
    return np.stack(columns_of_features, axis=1)


def alone_features(columns: Columns, tree: Tree, cut: TreeCut) -> Float64[np.ndarray, "n 4"]:
    """1; log of the largest Theil's coefficient at which a join of the component was refused; log of the number of
    samples on which it is active; the mean affinity of that join."""
    share, height = np.zeros(columns.n), np.zeros(columns.n)
    refused = cut.reason == 0
    for side in (0, 1):
        np.maximum.at(share, tree.merges[refused, side], cut.share[refused])
        np.maximum.at(height, tree.merges[refused, side], tree.heights[refused])
    return np.stack([np.ones(columns.n), np.log(np.clip(share, EDGE, 1)), np.log(columns.counts), height], axis=1)


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, EDGE, 1 - EDGE)
    return np.log(share / (1 - share))


def _logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))
