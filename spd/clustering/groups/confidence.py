"""How sure a membership is: the share of memberships with the same evidence that were right, on planted data.

A logistic regression on what the search knows of a component (benchmarks/recovery/calibration fits it on some kinds of
planted data and docs/groups.md reports it on others). For a component in a group of two or more the confidence is the
share of the rest of its group that truly is with it; for one that is alone, the probability that it is with no other.
"""

import numpy as np
from jaxtyping import Float64, Int64

MEMBER = np.array([2.0, 1.0, 0.0, 0.0])
ALONE = np.array([2.0, -1.0])


def member_features(
    told: Float64[np.ndarray, "n"],
    evidence: Float64[np.ndarray, "n"],
    size: Int64[np.ndarray, "n"],
    weakest: np.ndarray,
) -> Float64[np.ndarray, "n 4"]:
    """1; the logit of Theil's coefficient; log of the evidence in bits; log of the group's size."""
    u = np.clip(told, 1e-3, 1 - 1e-3)
    return np.stack([np.ones(len(u)), np.log(u / (1 - u)), np.log1p(np.maximum(evidence, 0)), np.log(size)], axis=1)


def logistic(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(- features @ weights))."""
    return 1 / (1 + np.exp(-(features @ weights)))


def confidence_of(columns, tree, cut, about, group_of):  # type: ignore[no-untyped-def]
    sizes = np.bincount(group_of)[group_of]
    member = logistic(member_features(about.told, about.evidence, sizes, None), MEMBER)
    return np.where(sizes > 1, member, 0.9)
