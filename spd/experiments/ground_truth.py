"""Which feature each component of a decomposed residual MLP serves, and how pure groups are measured by that.

The weights alone decide, not the importances that a clustering reads:

    mlp_in:  score[c, f] = |V_c . W_E[f]| * |U_c|      how strongly component c reads feature f
    mlp_out: score[c, f] = |U_c . W_U[:, f]| * |V_c|   how strongly it writes feature f

A component belongs to the feature of the highest score. It belongs to none when the second highest is more than half
of that (ambiguous), or the highest is under a twentieth of its module's highest (nothing left of it: dead).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spd.errors import RunFormatError

AMBIGUOUS_RATIO = 0.5
DEAD_RATIO = 0.05


@dataclass(frozen=True)
class GroupPurity:
    """How well groups agree with the features. Components of no feature are left out of all but their own count.

    Attributes:
        purity: share of the components that serve the most common feature of their group: the mean over groups of that
            feature's share, weighted by group size.
        completeness: share of the components that are in the group that holds most of their feature.
        adjusted_rand: adjusted Rand index of groups and features: 1 for equal partitions, 0 on average for random ones.
        n_pure_and_complete: number of features whose components form one group with no other feature in it.
        n_features: number of features that have a component.
        n_without_feature: number of components that belong to no feature.
    """

    purity: float
    completeness: float
    adjusted_rand: float
    n_pure_and_complete: int
    n_features: int
    n_without_feature: int


def component_features(run_directory: str | Path) -> dict[str, int | None]:
    """Feature of every component of a decomposed residual MLP, or None where it is ambiguous or dead.

    Args:
        run_directory: a run directory, checkpoint file, or `example:<name>`.

    Raises:
        MissingFileError, ConfigError, RunFormatError: the run cannot be read, or its target is no residual MLP.
    """
    from spd.models.component_model import ComponentModel
    from spd.models.components import Components
    from spd.models.targets.resid_mlp import ResidMLP

    model = ComponentModel.from_pretrained(run_directory)
    target = model.target_model
    if not isinstance(target, ResidMLP):
        raise RunFormatError(f"{run_directory}: expected a decomposed residual MLP, got a {type(target).__name__}")
    features: dict[str, int | None] = {}
    for module in model.module_to_c:
        parts = model.components[module.replace(".", "-")]
        assert isinstance(parts, Components)
        v, u = parts.V.detach().numpy(), parts.U.detach().numpy()
        if module.endswith("mlp_in"):
            scores = np.abs(v.T @ target.W_E.detach().numpy().T) * np.linalg.norm(u, axis=1)[:, None]
        elif module.endswith("mlp_out"):
            scores = np.abs(u @ target.W_U.detach().numpy()) * np.linalg.norm(v, axis=0)[:, None]
        else:
            raise RunFormatError(f"{run_directory}: module {module!r}: expected only mlp_in and mlp_out")
        features |= {f"{module}:{index}": feature for index, feature in enumerate(feature_by_scores(scores))}
    return features


def feature_by_scores(scores: Float[np.ndarray, "components features"]) -> list[int | None]:
    """Each component's feature of the highest score, or None; scores are non-negative."""
    best = scores.argmax(axis=1)
    ordered = np.sort(scores, axis=1)
    highest = ordered[:, -1]
    second = ordered[:, -2] if scores.shape[1] > 1 else np.zeros_like(highest)
    is_clear = (second <= AMBIGUOUS_RATIO * highest) & (highest > DEAD_RATIO * highest.max())
    return [int(feature) if clear else None for feature, clear in zip(best, is_clear, strict=True)]


def group_purity(groups: Iterable[Iterable[str]], features: Mapping[str, int | None]) -> GroupPurity:
    """Compare groups of component labels with the features of the components.

    Args:
        groups: each group's labels; every label in one group.
        features: from component_features; labels that stand in no group are left out.

    Raises:
        ValueError: a label that `features` does not know, or no component with a feature.
    """
    known, n_without = _known_features(groups, features)
    if not known:
        raise ValueError("no component in these groups belongs to a feature, so their purity has no meaning")
    members: defaultdict[int, Counter[int]] = defaultdict(Counter)
    places: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for group, feature in known:
        members[group][feature] += 1
        places[feature][group] += 1
    whole = sum(len(found) == 1 and len(members[next(iter(found))]) == 1 for found in places.values())
    return GroupPurity(
        purity=sum(max(counts.values()) for counts in members.values()) / len(known),
        completeness=sum(max(counts.values()) for counts in places.values()) / len(known),
        adjusted_rand=_adjusted_rand(members),
        n_pure_and_complete=whole,
        n_features=len(places),
        n_without_feature=n_without,
    )


def _known_features(
    groups: Iterable[Iterable[str]], features: Mapping[str, int | None]
) -> tuple[list[tuple[int, int]], int]:
    """((group, feature) of each component that has a feature, number of those that have none)."""
    known, n_without = [], 0
    for group, labels in enumerate(groups):
        for label in labels:
            if label not in features:
                raise ValueError(f"component {label!r} is none of the run's, so it has no known feature")
            feature = features[label]
            if feature is None:
                n_without += 1
            else:
                known.append((group, feature))
    return known, n_without


def _adjusted_rand(members: Mapping[int, Counter[int]]) -> float:
    """Hubert and Arabie (1985): (index - expected) / (maximum - expected) over pairs of components."""

    def pairs(sizes: Iterable[int]) -> float:
        return sum(size * (size - 1) / 2 for size in sizes)

    by_feature: Counter[int] = Counter()
    for counts in members.values():
        by_feature.update(counts)
    index = pairs(size for counts in members.values() for size in counts.values())
    in_groups = pairs(sum(counts.values()) for counts in members.values())
    in_features = pairs(by_feature.values())
    total = pairs([sum(by_feature.values())])
    expected = in_groups * in_features / total if total else 0.0
    maximum = (in_groups + in_features) / 2
    return 1.0 if maximum == expected else (index - expected) / (maximum - expected)
