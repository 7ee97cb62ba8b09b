"""In how many members something is seen again: groups, the place of a component in its group, components alone.

Two partitions are compared on the components that are alive in both. A **group** of one is in the other when a group
there has a Jaccard overlap above one half with it (there can be only one). A **component** keeps its place when it is
in one group with more than half of the rest of its own group. Dead components are labelled -1 throughout.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

SAME = 0.5
"""Jaccard overlap above which a group of one partition is that of another."""

MAX_SOURCES = 12
"""Members whose own groups are looked for in all others; the comparisons grow with this number times the members."""


class Met(NamedTuple):
    """What of one partition is in another; NaN where too few components are alive in both to say.

    Attributes:
        groups: (n_groups,) 1 where the other has the group.
        places: (n,) 1 where the component keeps its place.
    """

    groups: Float[np.ndarray, "n_groups"]
    places: Float[np.ndarray, "n"]


class Sightings(NamedTuple):
    """Things, and in how many members each was seen.

    Attributes:
        found_in: (m,) members in which it was.
        alive_in: (m,) members in which it could have been.
    """

    found_in: Float[np.ndarray, "m"]
    alive_in: Float[np.ndarray, "m"]

    @classmethod
    def of(cls, seen: Float[np.ndarray, "n_members m"]) -> "Sightings":
        """From 1 (seen), 0 (not), NaN (could not be) in each member."""
        return cls(np.nansum(seen, axis=0), (~np.isnan(seen)).sum(axis=0).astype(np.float64))


class Candidates(NamedTuple):
    """What members have, whether or not the ensemble's answer has it.

    Attributes:
        seen: in how many members, the one it was taken from counted.
        weight: (m,) one over found_in: a thing that k members have is taken k times.
        is_in_answer: (m,) whether the answer has it.
    """

    seen: Sightings
    weight: Float[np.ndarray, "m"]
    is_in_answer: Bool[np.ndarray, "m"]


class Sighted(NamedTuple):
    """What the answer has, in how many members each was seen, and the candidates to compare with."""

    answer: Sightings
    candidates: Candidates


def meet(own: Int[np.ndarray, "n"], other: Int[np.ndarray, "n"]) -> Met:
    """What of `own` is in `other`; labels of a partition are 0 .. k - 1, or -1."""
    n_own, n_other = len(_sizes(own)), len(_sizes(other))
    both = np.flatnonzero((own >= 0) & (other >= 0))
    a, b = own[both], other[both]
    sizes, other_sizes = np.bincount(a, minlength=n_own), np.bincount(b, minlength=n_other)
    cells, cell_of, shared = np.unique(a * n_other + b, return_inverse=True, return_counts=True)
    rows, columns = cells // n_other, cells % n_other
    is_same = shared > SAME * (sizes[rows] + other_sizes[columns] - shared)
    groups = np.where(sizes > 1, 0.0, np.nan)
    groups[rows[is_same & (sizes[rows] > 1)]] = 1.0
    rest = sizes[a] - 1
    places = np.full(own.size, np.nan)
    places[both] = np.where(rest > 0, shared[cell_of.reshape(-1)] - 1 > rest / 2, np.nan)
    return Met(groups, places)


def sighted(
    partitions: Int[np.ndarray, "n_members n"], answer: Int[np.ndarray, "n"]
) -> tuple[Sighted, Sighted, Sighted]:
    """Groups of the answer (by number), components in their groups, and components alone (both by component).

    Members' groups are looked for in all other members, of at most MAX_SOURCES members: a thing that k members have is
    among these as often, for all k, as its share of all members says.
    """
    members = [_numbered(partition) for partition in partitions]
    of_answer = [meet(answer, member) for member in members]
    groups, places = [], []
    for source, member in enumerate(members[:MAX_SOURCES]):
        seen = [meet(member, other) for index, other in enumerate(members) if index != source]
        in_answer = meet(member, answer)
        is_grouped = (member >= 0) & (_sizes(member)[member] > 1)
        groups.append(_candidates([met.groups for met in seen], in_answer.groups, _sizes(member) > 1))
        places.append(_candidates([met.places for met in seen], in_answer.places, is_grouped))
    return (
        Sighted(Sightings.of(np.stack([met.groups for met in of_answer])), _joined(groups)),
        Sighted(Sightings.of(np.stack([met.places for met in of_answer])), _joined(places)),
        _alone(members, answer),
    )


def _candidates(
    elsewhere: list[Float[np.ndarray, "m"]], in_answer: Float[np.ndarray, "m"], kept: Bool[np.ndarray, "m"]
) -> Candidates:
    """Of one member: what it has itself, and sees in others."""
    others = Sightings.of(np.array(elsewhere).reshape(-1, kept.size)[:, kept])
    seen = Sightings(others.found_in + 1, others.alive_in + 1)
    return Candidates(seen, 1 / seen.found_in, np.nan_to_num(in_answer[kept]) > 0)


def _joined(parts: list[Candidates]) -> Candidates:
    seen = Sightings(*(np.concatenate([part.seen[x] for part in parts]) for x in (0, 1)))
    return Candidates(
        seen, np.concatenate([part.weight for part in parts]), np.concatenate([part.is_in_answer for part in parts])
    )


def _alone(members: list[np.ndarray], answer: Int[np.ndarray, "n"]) -> Sighted:
    """Components alone: each that some member leaves alone is a candidate, once."""
    is_alone = np.stack([np.where(m >= 0, _sizes(m)[m] == 1, np.nan) for m in members])
    seen = Sightings.of(is_alone)
    ever = seen.found_in > 0
    in_answer = _sizes(answer)[answer] == 1
    weight = np.ones(int(ever.sum()))
    return Sighted(seen, Candidates(Sightings(seen.found_in[ever], seen.alive_in[ever]), weight, in_answer[ever]))


def _numbered(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The same partition with labels 0 .. k - 1, -1 where dead."""
    numbered = np.full(labels.size, -1, np.int64)
    alive = labels >= 0
    numbered[alive] = np.unique(labels[alive], return_inverse=True)[1].reshape(-1)
    return numbered


def _sizes(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "k"]:
    """Components alive in each group; one entry at least, so that it can be indexed by -1."""
    return np.bincount(labels[labels >= 0], minlength=max(int(labels.max(initial=-1)) + 1, 1))
