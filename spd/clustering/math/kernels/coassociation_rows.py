"""Co-association of components, one row at a time and never as a whole matrix.

Components that are in the same group in every member (and dead in the same members) cannot be told apart: they form
an atom, and everything is computed between atoms. A row of counts is found by walking, for each member, the atoms of
the group that the row's atom is in there.
"""

from typing import NamedTuple

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


class Table(NamedTuple):
    """The atoms of an ensemble of partitions.

    group: (n_atoms, n_members) the group of each atom, numbered through all members, or -1 where it is dead.
    n_alive: (n_atoms,) number of members in which the atom is alive.
    size: (n_atoms,) number of components in the atom.
    group_start, group_atoms: the atoms of group g, ascending, are group_atoms[group_start[g] : group_start[g + 1]].
    """

    group: np.ndarray
    n_alive: np.ndarray
    size: np.ndarray
    group_start: np.ndarray
    group_atoms: np.ndarray


@helper()
def count_row(table, atom, first, counts, touched):
    """Count in how many members each atom from `first` on is together with `atom`: into counts, which was 0, and
    touched.

    Returns the number of atoms touched; the caller sets their counts back to 0.
    """
    n_touched = 0
    for member in range(table.group.shape[1]):
        group = table.group[atom, member]
        if group < 0:
            continue
        start, end = table.group_start[group], table.group_start[group + 1]
        if first > 0:
            start += np.searchsorted(table.group_atoms[start:end], first)
        for k in range(start, end):
            other = table.group_atoms[k]
            if counts[other] == 0:
                touched[n_touched] = other
                n_touched += 1
            counts[other] += 1
    return n_touched


@helper()
def alive_together(table, a, b):
    """The number of members in which both atoms are alive."""
    n_members = table.group.shape[1]
    if table.n_alive[a] == n_members:
        return table.n_alive[b]
    if table.n_alive[b] == n_members:
        return table.n_alive[a]
    both = 0
    for member in range(n_members):
        if table.group[a, member] >= 0 and table.group[b, member] >= 0:
            both += 1
    return both


@kernel(nogil=True)
def link(table, threshold, least_alive):
    """(n_atoms,) the least atom of each atom's block: atoms are linked by a co-association >= threshold.

    Pairs that are alive together in fewer than least_alive members are not linked.
    """
    n_atoms = table.size.size
    block = np.arange(n_atoms)
    counts = np.zeros(n_atoms, np.int64)
    touched = np.empty(n_atoms, np.int64)
    for atom in range(n_atoms):
        for k in range(count_row(table, atom, atom + 1, counts, touched)):
            other = touched[k]
            count = counts[other]
            counts[other] = 0
            both = alive_together(table, atom, other)
            if both >= least_alive and count >= threshold * both:
                _join(block, atom, other)
    for atom in range(n_atoms):
        block[atom] = _root(block, atom)
    return block


@helper()
def _root(block, atom):
    while block[atom] != atom:
        block[atom] = block[block[atom]]
        atom = block[atom]
    return atom


@helper()
def _join(block, a, b):
    a, b = _root(block, a), _root(block, b)
    block[max(a, b)] = min(a, b)


@kernel(nogil=True)
def dense_block(table, atoms, least_alive):
    """(b, b) float32 co-association between the given atoms; 0 where there is too little evidence."""
    n_atoms = table.size.size
    place = np.full(n_atoms, -1)
    for k in range(atoms.size):
        place[atoms[k]] = k
    matrix = np.zeros((atoms.size, atoms.size), np.float32)
    counts = np.zeros(n_atoms, np.int64)
    touched = np.empty(n_atoms, np.int64)
    for row in range(atoms.size):
        for k in range(count_row(table, atoms[row], 0, counts, touched)):
            other = touched[k]
            column = place[other]
            if column >= 0:
                both = alive_together(table, atoms[row], other)
                if both >= least_alive:
                    matrix[row, column] = counts[other] / both
            counts[other] = 0
    return matrix


@kernel(nogil=True)
def average_linkage(similarity, size, least):
    """Agglomerate by mean similarity down to `least`, by nearest-neighbour chains (Murtagh 1983).

    similarity: (b, b) symmetric, overwritten; size: (b,) weights, overwritten. Ties: the lowest index.
    Returns merges (b - 1, 2) and their similarities, of which the first n_merges are meant, and n_merges.

    Mean similarity is reducible: a merge never brings two other groups nearer. So a group whose nearest neighbour is
    below `least` is done, and the merges at or above any threshold are those of a cut at that threshold.
    """
    n = size.size
    merges = np.empty((max(n - 1, 0), 2), np.int64)
    heights = np.empty(max(n - 1, 0))
    active = np.ones(n, np.bool_)
    chain = np.empty(n, np.int64)
    n_merges = length = first = 0
    while True:
        if length == 0:
            while first < n and not active[first]:
                first += 1
            if first == n:
                return merges, heights, n_merges
            chain[0] = first
            length = 1
        last = chain[length - 1]
        previous = chain[length - 2] if length > 1 else -1
        best, nearest = similarity[last, previous] if previous >= 0 else np.float32(-1.0), previous
        for other in range(n):
            if active[other] and other != last and similarity[last, other] > best:
                best, nearest = similarity[last, other], other
        if best < least:
            active[last] = False
            length -= 1
            continue
        if nearest != previous:
            chain[length] = nearest
            length += 1
            continue
        length -= 2
        keep, gone = min(last, previous), max(last, previous)
        merges[n_merges] = keep, gone
        heights[n_merges] = best
        n_merges += 1
        active[gone] = False
        weight = size[keep] / (size[keep] + size[gone])
        for other in range(n):
            if active[other] and other != keep:
                mean = weight * similarity[keep, other] + (1 - weight) * similarity[gone, other]
                similarity[keep, other] = similarity[other, keep] = mean
        size[keep] += size[gone]


@kernel(nogil=True)
def cores(table, order, least_alive):
    """(n_atoms,) a core for each atom: any two of a core's atoms are together wherever both are alive.

    Atoms are taken in the given order (most alive first). One joins the core with all of whose atoms it is together
    wherever both are alive, and alive together in at least least_alive members; among several the one with which it
    shares most members, and then the earliest. Otherwise it opens a core.
    """
    n_atoms, n_members = table.group.shape
    core = np.full(n_atoms, -1)
    known = np.full((n_atoms, n_members), -1)
    first = np.full(n_atoms, -1)
    following = np.full(n_atoms, -1)
    n_cores = 0
    for k in range(n_atoms):
        atom = order[k]
        best, best_shared = -1, least_alive - 1
        # An atom that is alive everywhere differs from every earlier one: those were alive everywhere as well.
        for candidate in range(n_cores if table.n_alive[atom] < n_members else 0):
            shared = _agreement(table.group[atom], known[candidate])
            if shared > best_shared and _all_alive_enough(table, atom, first[candidate], following, least_alive):
                best, best_shared = candidate, shared
        if best < 0:
            best = n_cores
            n_cores += 1
        core[atom] = best
        following[atom] = first[best]
        first[best] = atom
        for member in range(n_members):
            if table.group[atom, member] >= 0:
                known[best, member] = table.group[atom, member]
    return core


@kernel(nogil=True)
def _agreement(group, known):
    """In how many members both are known, or -1 if they differ in one of these."""
    shared = 0
    for member in range(group.size):
        if group[member] >= 0 and known[member] >= 0:
            if group[member] != known[member]:
                return -1
            shared += 1
    return shared


@helper()
def _all_alive_enough(table, atom, other, following, least_alive):
    while other >= 0:
        if alive_together(table, atom, other) < least_alive:
            return False
        other = following[other]
    return True
