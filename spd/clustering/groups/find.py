"""`find_groups`: from memberships to groups, with nothing to choose.

1. A sparse graph: how much more often than by chance two components are active together (kernels/graph).
2. A tree: average linkage on that graph (kernels/tree).
3. A cut: going up, a node is a group when its two parts are groups and are one by the two-state code (kernels/join).
4. What is known of each group (describe.py), how sure each membership is (confidence.py), and what chance gives
(control.py).

The numbers do not depend on how many threads there are.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spd.clustering.consts import ComponentLabels
from spd.clustering.groups.columns import (
    Columns,
    as_boolean,
    columns_of,
    fingerprint,
    taking_part,
)
from spd.clustering.groups.confidence import confidence_of
from spd.clustering.groups.control import shift_apart
from spd.clustering.groups.cut import TreeCut, cut_tree
from spd.clustering.groups.describe import Description, describe, nested_groups, numbered
from spd.clustering.groups.groups import Groups
from spd.clustering.groups.record import Control
from spd.clustering.groups.resampling import stable_parts
from spd.clustering.groups.secondary import secondary_memberships
from spd.clustering.groups.tree import Progress, Tree, affinity_tree
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.errors import ActivationsError, SPDError
from spd.interrupts import interrupts_kept
from spd.machine import available_cores

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

    from spd.clustering.merge_history import MergeHistory

logger = getLogger(__name__)


class _Found(NamedTuple):
    """What the search knows of the components that take part."""

    columns: Columns
    tree: Tree
    cut: TreeCut
    about: Description
    group_of: np.ndarray


@interrupts_kept()
def find_groups(
    activations: "Tensor | np.ndarray | csr_array | Memberships",
    labels: Sequence[str] | None = None,
    *,
    history: "MergeHistory | None" = None,
    seed: int = 0,
    control: bool = True,
    n_resamples: int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Groups:
    """The groups of components that fire together.

    Args:
        activations: (n_samples, n_components), as for `merge_iteration`: booleans, or importances, of which those count
            as active that are at least half of the component's greatest; left unchanged. The order of the samples
            matters only for how much evidence a run of active samples is, and for the control.
        labels: one a component; None: those of the memberships, or `component:<i>`.
        history: cut the tree of this merge instead of the one made here, which is the better one.
        seed: of the control's shifts and of the bootstraps; without bootstraps the groups do not depend on it.
        control: search also where nothing belongs together; costs about as much again.
        n_resamples: search in so many bootstraps of the samples too, and split groups where these do not agree on them
            (resampling.py): fewer, surer memberships, at so many times the cost; 12 is a good number.
        n_threads: at most; None: one a core that this process may use. The answer does not depend on it.
        progress: called now and then with a stage's name, the steps done, and the steps in all; None: logged. What it
            raises ends the search.

    Raises:
        ActivationsError: values or labels that cannot be memberships, no sample, or no component.
        SPDError: the history is of other components.
    """
    report = progress or _log
    memberships = as_boolean(activations, labels)
    if not memberships.n_components or not memberships.n_samples:
        raise ActivationsError(
            f"there is nothing to group: {memberships.n_components} components on {memberships.n_samples} samples"
        )
    is_part = taking_part(memberships)
    part = memberships if is_part.all() else memberships.select(is_part)
    workers = Workers(available_cores() if n_threads is None else max(1, n_threads))

    columns = columns_of(part, workers)
    if history is None:
        tree = affinity_tree(columns, workers, report)
    else:
        tree = _tree_of(history, memberships.labels, is_part)
    cut = cut_tree(columns, tree, workers, report)
    group_of = numbered(cut.group_of)
    if n_resamples:
        rng = np.random.default_rng([seed, 1])
        draws = partial(_groups_of, workers=workers, report=report)
        group_of = numbered(stable_parts(part, group_of, n_resamples, rng, draws))
    about = describe(columns, cut, group_of, workers, report)
    groups = _answer(memberships, is_part, _Found(columns, tree, cut, about, group_of), workers)
    if not control:
        return groups
    del about, tree, cut
    apart = shift_apart(columns, group_of, np.random.default_rng(seed), workers)
    return replace(groups, control=_control_of(_search(apart, workers, report)))


def _groups_of(memberships: Memberships, workers: Workers, report: Progress) -> np.ndarray:
    """(n,) the group of each component, named by one of it; one that takes no part is alone."""
    is_part = taking_part(memberships)
    part = np.flatnonzero(is_part)
    columns = columns_of(memberships if is_part.all() else memberships.select(is_part), workers)
    group_of = np.arange(len(is_part))
    group_of[part] = part[_search(columns, workers, report)]
    return group_of


def _search(columns: Columns, workers: Workers, report: Progress) -> np.ndarray:
    """(n,) the same for components that all take part."""
    return cut_tree(columns, affinity_tree(columns, workers, report), workers, report).group_of


def _log(stage: str, done: int, total: int) -> None:
    if done == total:
        logger.info("%s: done", stage)
    else:
        logger.debug("%s: %s of %s", stage, f"{done:,}", f"{total:,}")


def _tree_of(history: "MergeHistory", labels: ComponentLabels, is_part: np.ndarray) -> Tree:
    """The merges of a history among the components that take part."""
    if history.labels != labels:
        raise SPDError("the history is of other components than the activations")
    place = np.cumsum(is_part) - 1
    least = np.where(is_part, place, -1)
    merges = []
    for a, b in history.component_merges.tolist():
        low, high = sorted((int(least[a]), int(least[b])))
        if low >= 0:
            merges.append((low, high))
        least[a] = low if low >= 0 else high
    m = len(merges)
    return Tree(np.array(merges, np.int64).reshape(-1, 2), 1 - np.arange(1, m + 1) / (m + 1))


def _control_of(group_of: np.ndarray) -> Control:
    sizes = np.bincount(group_of, minlength=1)
    return Control(int((sizes > 1).sum()), int(sizes[sizes > 1].sum()))


def _answer(memberships: Memberships, is_part: np.ndarray, found: _Found, workers: Workers) -> Groups:
    """Everything in the numbering of all components: those that take no part are alone."""
    about, group_of = found.about, found.group_of
    n, k = memberships.n_components, len(about.rate)
    part = np.flatnonzero(is_part)
    whole = np.arange(k, k + n)
    whole[part] = group_of
    whole = numbered(whole)
    new_name = np.zeros(k, np.int64)
    new_name[group_of] = whole[part]
    rate = np.zeros(int(whole.max()) + 1)
    rate[whole] = memberships.counts / memberships.n_samples
    rate[new_name] = about.rate
    p, q, confidence = np.ones(n), np.zeros(n), np.ones(n)
    p[part], q[part] = about.p, about.q
    confidence[part] = confidence_of(*found)
    secondary = secondary_memberships(found.columns, group_of, about, workers)
    joins, strength = _ordered_joins(found.tree, found.cut)
    return Groups(
        memberships.labels,
        whole,
        rate,
        p,
        q,
        confidence,
        [(int(part[i]), int(new_name[g]), share) for i, g, share in secondary],
        [(int(new_name[i]), int(new_name[o]), share) for i, o, share in nested_groups(about, workers)],
        part[joins].reshape(-1, 2),
        strength,
        memberships.n_samples,
        fingerprint(memberships),
    )


def _ordered_joins(tree: Tree, cut: TreeCut) -> tuple[np.ndarray, np.ndarray]:
    """Joins from the strongest to the weakest, parts before wholes: those made by their share, no larger than that of
    any join below; then the others by their affinity, likewise."""
    n = len(cut.group_of)
    weakest = np.full(n, np.inf)
    strength = np.empty(len(tree.merges))
    for t, (a, b) in enumerate(tree.merges.tolist()):
        own = cut.share[t] if cut.reason[t] else tree.heights[t] - 1
        strength[t] = weakest[a] = min(own, weakest[a], weakest[b])
    order = np.argsort(-strength, kind="stable")
    return tree.merges[order], np.minimum(strength[order], 1.0)
