"""Sums over rows of co-association: how firm groups are, how sure places are, how many pairs are in doubt."""

import numpy as np

from spd.clustering.math.kernels.coassociation_rows import alive_together, count_row
from spd.clustering.math.kernels.jit import helper, kernel


@kernel(nogil=True)
def group_sums(table, group_of, start, atoms, n_others):
    """Co-association inside groups, and from each atom and group to the other groups.

    group_of: (n_atoms,); the atoms of group g are atoms[start[g] : start[g + 1]]; n_others: how many other groups to
    name for each atom, those with the highest mean co-association.
    Returns, with "pairs" meaning pairs of different components that are ever alive together:
    inside (n_groups, 3): sum over pairs, least value, number of pairs;
    nearest (n_groups,) the other group with the highest mean co-association, or -1, and that mean;
    own (n_atoms,): the mean to the other components of its group (NaN: none);
    others (n_atoms, n_others) groups or -1, and their means.
    """
    n_atoms, n_groups = table.size.size, start.size - 1
    group_size = np.zeros(n_groups, np.int64)
    for atom in range(n_atoms):
        group_size[group_of[atom]] += table.size[atom]
    inside = np.zeros((n_groups, 3))
    inside[:, 1] = 1.0
    nearest = np.full(n_groups, -1)
    nearest_mean = np.zeros(n_groups)
    own = np.full(n_atoms, np.nan)
    others = np.full((n_atoms, n_others), -1)
    other_means = np.zeros((n_atoms, n_others))
    counts = np.zeros(n_atoms, np.int64)
    touched = np.empty(n_atoms, np.int64)
    row = np.zeros(n_groups)
    row_groups = np.empty(n_groups, np.int64)
    total = np.zeros(n_groups)
    total_groups = np.empty(n_groups, np.int64)
    for group in range(n_groups):
        n_total = 0
        for k in range(start[group], start[group + 1]):
            atom = atoms[k]
            n_touched = count_row(table, atom, 0, counts, touched)
            own[atom] = _inside(table, atoms[start[group] : start[group + 1]], atom, counts, inside[group])
            n_row = 0
            for t in range(n_touched):
                other = touched[t]
                target = group_of[other]
                if target != group:
                    if row[target] == 0:
                        row_groups[n_row] = target
                        n_row += 1
                    row[target] += table.size[other] * counts[other] / alive_together(table, atom, other)
                counts[other] = 0
            for t in range(n_row):
                target = row_groups[t]
                _insert(others[atom], other_means[atom], target, row[target] / group_size[target])
                if total[target] == 0:
                    total_groups[n_total] = target
                    n_total += 1
                total[target] += table.size[atom] * row[target]
                row[target] = 0
        for t in range(n_total):
            target = total_groups[t]
            mean = total[target] / (group_size[group] * group_size[target])
            total[target] = 0
            if mean > nearest_mean[group] or (mean == nearest_mean[group] and target < nearest[group]):
                nearest[group], nearest_mean[group] = target, mean
    return inside, nearest, nearest_mean, own, others, other_means


@helper()
def _inside(table, members, atom, counts, inside):
    """Add an atom's pairs inside its group (each pair of atoms from both sides, hence halves). Returns their mean."""
    size = table.size[atom]
    values = float(size - 1)
    pairs = size - 1
    least = 1.0
    inside[0] += size * (size - 1) / 2
    inside[2] += size * (size - 1) / 2
    for other in members:
        if other == atom:
            continue
        both = alive_together(table, atom, other)
        if both == 0:
            continue
        value = counts[other] / both
        values += table.size[other] * value
        pairs += table.size[other]
        inside[0] += size * table.size[other] * value / 2
        inside[2] += size * table.size[other] / 2
        least = min(least, value)
    inside[1] = min(inside[1], least)
    return values / pairs if pairs else np.nan


@helper()
def _insert(groups, means, group, mean):
    """Keep the highest means, descending; among equals the lower group."""
    for k in range(groups.size):
        if mean > means[k] or (mean == means[k] and group < groups[k]):
            group, groups[k] = groups[k], group
            mean, means[k] = means[k], mean


@kernel(nogil=True)
def ambiguous_pairs(table, by_member, low, high):
    """Pairs of components with low < co-association < high, and pairs that are together at least once.

    by_member: (n_members, n_atoms) int32, table.group the other way round.
    """
    n_atoms = table.size.size
    counts = np.zeros(n_atoms, np.int64)
    touched = np.empty(n_atoms, np.int64)
    ambiguous = ever = 0
    for atom in range(n_atoms):
        size = table.size[atom]
        if table.n_alive[atom] > 0:
            ever += size * (size - 1) // 2
        if _is_long(table, atom):
            doubtful, together = _pairs_of_long_row(table, by_member, atom, low, high)
            ambiguous += doubtful
            ever += together
            continue
        for k in range(count_row(table, atom, atom + 1, counts, touched)):
            other = touched[k]
            count = counts[other]
            counts[other] = 0
            ever += size * table.size[other]
            if _is_between(count, alive_together(table, atom, other), low, high):
                ambiguous += size * table.size[other]
    return ambiguous, ever


@kernel(nogil=True, inline="always")
def _is_between(count, both, low, high):
    """Shares are fractions of small whole numbers: compared so that 9 of 10 is not below 0.9."""
    return (low + 1e-9) * both < count < (high - 1e-9) * both


@helper()
def _is_long(table, atom):
    """Whether comparing with every atom, in order, is less work than walking the lists of the atom's groups."""
    n_atoms, n_members = table.group.shape
    walked = 0
    for member in range(n_members):
        group = table.group[atom, member]
        if group >= 0:
            walked += table.group_start[group + 1] - table.group_start[group]
    return 8 * walked > n_atoms * n_members


@helper()
def _pairs_of_long_row(table, by_member, atom, low, high):
    """(ambiguous, ever together) over the pairs of an atom with the later ones; plain loops that vectorise."""
    n_members, n_atoms = by_member.shape
    together = np.zeros(n_atoms - atom - 1, np.int32)
    both = table.n_alive[atom + 1 :].astype(np.int32)  # where this atom is alive everywhere
    if table.n_alive[atom] < n_members:
        both[:] = 0
    for member in range(n_members):
        group = by_member[member, atom]
        if group < 0:
            continue
        others = by_member[member, atom + 1 :]
        for k in range(others.size):
            together[k] += np.int32(others[k] == group)
        if table.n_alive[atom] < n_members:
            for k in range(others.size):
                both[k] += np.int32(others[k] >= 0)
    sizes = table.size[atom + 1 :]
    ambiguous = ever = 0
    for k in range(sizes.size):
        if together[k] > 0:
            ever += sizes[k]
            if _is_between(together[k], both[k], low, high):
                ambiguous += sizes[k]
    return ambiguous * table.size[atom], ever * table.size[atom]


@kernel(nogil=True)
def image(table, atom_bins, n_bins):
    """(n_bins, n_bins) sums of co-association over pairs of components, each with itself included.

    atom_bins: rows (atom, bin, number of the atom's components in the bin), ordered by atom.
    """
    n_atoms = table.size.size
    start = np.zeros(n_atoms + 1, np.int64)
    for k in range(atom_bins.shape[0]):
        start[atom_bins[k, 0] + 1] += 1
    start = np.cumsum(start)
    sums = np.zeros((n_bins, n_bins))
    counts = np.zeros(n_atoms, np.int64)
    touched = np.empty(n_atoms, np.int64)
    for atom in range(n_atoms):
        if start[atom] == start[atom + 1]:
            continue
        for t in range(count_row(table, atom, 0, counts, touched)):
            other = touched[t]
            value = counts[other] / alive_together(table, atom, other)
            counts[other] = 0
            for i in range(start[atom], start[atom + 1]):
                for j in range(start[other], start[other + 1]):
                    sums[atom_bins[i, 1], atom_bins[j, 1]] += value * atom_bins[i, 2] * atom_bins[j, 2]
    return sums
