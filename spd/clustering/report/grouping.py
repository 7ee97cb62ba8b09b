"""Groups as the report takes them, whatever made them: `find_groups`, a cut of a merge history, a consensus, a mapping.

Whether a group fires on a sample is one linear rule: bias_g + sum over its active components of weight_i > 0, and at
least one of them is active.

- Any component (cuts, mappings): bias -1/2, weights 1.
- Posterior (`Groups`; a consensus, once codes are fitted to samples by firing_code): a component is active with
  probability p when its group fires and q when not, independently, so the log odds of firing are log(f / (1 - f)) + sum
  over all of log((1 - p) / (1 - q)) + sum over the active ones of log(p (1 - q) / (q (1 - p))).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.groups import Groups
from spd.errors import SPDError

if TYPE_CHECKING:
    from spd.clustering.merge_history import MergeHistory

_LEAST_PROBABILITY = 1e-6
SURE, LIKELY = 0.9, 0.5
ANY, POSTERIOR = "any component active", "posterior above 1/2"


@dataclass(frozen=True, eq=False)
class Grouping:
    """A partition of components.

    Attributes:
        labels: (n,) of the components.
        group_of: (n,) 0 .. k - 1.
        ids: (k,) the number of each group in mapping files and addresses.
        method: what made the groups, in words with its settings.
        firing_rule: ANY or POSTERIOR.
        weights, biases: (n,), (k,) of the firing rule.
        confidence: (n,) how sure each component's place is, 0 to 1; None where nothing tells.
        secondary: (component, group, share of the component's activity that this other group explains).
        nested: (inner group, outer group, share of the outer's firings that are the inner's).
        joins: (m, 2) components whose parts are joined, in the order from all alone to few groups: what other cuts
            follow from. None: those of the history, where there is one.
        verdicts: by group the verdict and the reason; empty where only the data can tell.
        parts: (n,) the stable group that each component is in, by its number in stable_groups.json, -1 for none: what
            is to be trusted of a group that is not trusted whole. None: not known.
    """

    labels: list[str]
    group_of: np.ndarray
    ids: np.ndarray
    method: str
    firing_rule: str = ANY
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    biases: np.ndarray = field(default_factory=lambda: np.zeros(0))
    confidence: np.ndarray | None = None
    secondary: tuple[tuple[int, int, float], ...] = ()
    nested: tuple[tuple[int, int, float], ...] = ()
    joins: np.ndarray | None = None
    verdicts: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    parts: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.group_of.shape == (len(self.labels),)
        if not self.weights.size:
            object.__setattr__(self, "weights", np.ones(len(self.labels)))
            object.__setattr__(self, "biases", np.full(self.n_groups, -0.5))

    @property
    def n_groups(self) -> int:
        """Groups of one component included."""
        return len(self.ids)

    @property
    def is_consensus(self) -> bool:
        """Whether it is the consensus of an ensemble, which alone has parts."""
        return self.parts is not None

    @cached_property
    def members(self) -> list[np.ndarray]:
        """The components of each group, ascending."""
        order = np.argsort(self.group_of, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.group_of, minlength=self.n_groups))[:-1])

    @cached_property
    def by_size(self) -> np.ndarray:
        """(k,) the groups, the largest first, ties by id: the order of the report."""
        sizes = np.array([len(found) for found in self.members])
        return np.lexsort((self.ids, -sizes))


def from_groups(groups: Groups, method: str = "groups found by their code") -> Grouping:
    """Of `find_groups`: its firing is a posterior."""
    group_of = np.asarray(groups.group_of, np.int64)
    p, q, rate = (
        np.clip(np.asarray(values, np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        for values in (groups.p_active, groups.p_noise, groups.firing_rate)
    )
    silent = np.bincount(group_of, np.log((1 - p) / (1 - q)), minlength=groups.n_groups)
    sizes = np.bincount(group_of, minlength=groups.n_groups)
    weights, biases = np.log(p * (1 - q) / (q * (1 - p))), np.log(rate / (1 - rate)) + silent
    alone = sizes == 1  # a component alone is its group's firing
    return Grouping(
        labels=list(groups.labels),
        group_of=group_of,
        ids=np.arange(groups.n_groups),
        method=method,
        firing_rule=POSTERIOR,
        weights=np.where(alone[group_of], 1.0, weights),
        biases=np.where(alone, -0.5, biases),
        confidence=np.asarray(groups.confidence, np.float64),
        secondary=tuple((int(c), int(g), float(share)) for c, g, share in groups.secondary),
        nested=tuple((int(inner), int(outer), float(share)) for inner, outer, share in groups.nested),
        joins=np.asarray(groups.joins, np.int64).reshape(-1, 2),
        verdicts=_verdicts(groups, sizes),
    )


def _verdicts(groups: Groups, sizes: np.ndarray) -> dict[int, tuple[str, str]]:
    """By the mean confidence of a group's components; none for a component alone."""
    total = np.bincount(groups.group_of, groups.confidence, minlength=groups.n_groups)
    found = {}
    for group in np.flatnonzero(sizes > 1):
        mean = total[group] / sizes[group]
        verdict = "sure" if mean >= SURE else "likely" if mean >= LIKELY else "doubtful"
        text = (
            f"a component and another member of its group truly belong together with probability {mean:.2f} on average"
        )
        found[int(group)] = (verdict, text)
    return found


def from_history(history: "MergeHistory", n_merges: int, method: str) -> Grouping:
    """After so many merges; ids are the indices of the groups at that iteration."""
    group_of = history.partition_after(n_merges).astype(np.int64)
    return Grouping(list(history.labels), group_of, np.arange(history.c_components - n_merges), method)


def from_mapping(clusters: Mapping[str, int | None], method: str) -> Grouping:
    """`{label: group}`; None: the component is alone, in a group numbered after all others.

    Raises:
        SPDError: it names no component, or a group by what is no whole number of at least 0.
    """
    if not clusters:
        raise SPDError("the mapping names no component")
    for label, group in clusters.items():
        if group is not None and (isinstance(group, bool) or not isinstance(group, int) or group < 0):
            raise SPDError(f"the mapping gives component {label!r} the group {group!r}, expected a number or null")
    given = sorted({group for group in clusters.values() if group is not None})
    index = {group: place for place, group in enumerate(given)}
    next_id = given[-1] + 1 if given else 0
    ids, group_of = list(given), []
    for group in clusters.values():
        if group is None:
            group_of.append(len(ids))
            ids.append(next_id + len(ids) - len(given))
        else:
            group_of.append(index[group])
    return Grouping(list(clusters), np.array(group_of, np.int64), np.array(ids, np.int64), method)


def members_hash(labels: Iterable[str]) -> str:
    """16 hexadecimal digits that name a group by its members, whatever their order; survives another run."""
    return hashlib.sha256("\n".join(sorted(labels)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
