"""Kernels of merge_paths: a path of merges as pairs of group indices, as pairs of components, as partitions.

Groups are numbered in the order of their least components (see merge_paths), so the group with index g is the one
whose least component is the g-th of the components that are still the least of their group. A Fenwick tree over the
components counts those: tree[i] (1-based) holds how many of components i - lowbit(i) .. i - 1 are still least.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


@helper()
def full_tree(n):
    """A Fenwick tree of n ones."""
    tree = np.empty(n + 1, np.int64)
    tree[0] = 0
    for i in range(1, n + 1):
        tree[i] = i & -i
    return tree


@kernel()
def remove(tree, component):
    i = component + 1
    while i < tree.shape[0]:
        tree[i] -= 1
        i += i & -i


@helper()
def count_before(tree, component):
    """How many of the components below this one are still the least of their group."""
    i = component
    count = 0
    while i > 0:
        count += tree[i]
        i -= i & -i
    return count


@kernel()
def find(tree, rank):
    """The component that has `rank` still-least components before it and is one itself."""
    n = tree.shape[0] - 1
    step = 1
    while step * 2 <= n:
        step *= 2
    position = 0
    # Invariant: exactly `rank` (as reduced) still-least components lie at or after `position` and before the answer.
    while step > 0:
        ahead = position + step
        if ahead <= n and tree[ahead] <= rank:
            position = ahead
            rank -= tree[ahead]
        step //= 2
    return position


@kernel()
def pairs_to_components(pairs, n, out):
    """Fill out (T, 2); returns the first merge that names a group that does not exist, or -1."""
    tree = full_tree(n)
    for t in range(pairs.shape[0]):
        low = min(pairs[t, 0], pairs[t, 1])
        high = max(pairs[t, 0], pairs[t, 1])
        if low < 0 or low == high or high >= n - t:
            return t
        out[t, 0] = find(tree, low)
        out[t, 1] = find(tree, high)
        remove(tree, out[t, 1])
    return -1


@kernel()
def components_to_pairs(merges, n, out):
    """Fill out (T, 2); returns the first merge that is not of two least components in order, or -1."""
    tree = full_tree(n)
    is_least = np.ones(n, np.bool_)
    for t in range(merges.shape[0]):
        kept = merges[t, 0]
        absorbed = merges[t, 1]
        if kept < 0 or kept >= absorbed or absorbed >= n or not is_least[kept] or not is_least[absorbed]:
            return t
        out[t, 0] = count_before(tree, kept)
        out[t, 1] = count_before(tree, absorbed)
        is_least[absorbed] = False
        remove(tree, absorbed)
    return -1


@kernel()
def least_components(members, n, out):
    """members (T, 2): any component of either group; fill out (T, 2) with the least ones, the smaller first.

    Returns the first merge of a component that does not exist, or of a group with itself, or -1.
    """
    parent = np.arange(n)
    for t in range(members.shape[0]):
        for side in range(2):
            component = members[t, side]
            if component < 0 or component >= n:
                return t
            while parent[component] != component:
                parent[component] = parent[parent[component]]
                component = parent[component]
            out[t, side] = component
        if out[t, 0] == out[t, 1]:
            return t
        if out[t, 0] > out[t, 1]:
            out[t, 0], out[t, 1] = out[t, 1], out[t, 0]
        parent[out[t, 1]] = out[t, 0]
    return -1


@kernel()
def groups_at(absorbed_at, into, iteration, out):
    """Fill out (n,) with the groups after merge `iteration`.

    absorbed_at (n,): the merge in which a component ceased to be the least of its group (T or more: never);
    into (n,): the least component of the group that took it in, always a smaller component.
    """
    k = 0
    # Invariant: out[:c] is final, and k of the components below c are the least of their group.
    for c in range(absorbed_at.shape[0]):
        if absorbed_at[c] > iteration:
            out[c] = k
            k += 1
        else:
            out[c] = out[into[c]]


@helper()
def merge_in_row(before, low, high, out):
    """out = the groups `before`, after groups low and high merged. Branch-free, so that it vectorises."""
    for c in range(before.shape[0]):
        g = before[c]
        moved = g - (g > high)
        out[c] = low if g == high else moved


@kernel()
def groups_at_many(merges, absorbed_at, into, iterations, out):
    """Fill out (len(iterations), n) with the groups after each of the merges `iterations`.

    merges (T, 2): (kept, absorbed) least components. A row that is one merge after the row above is derived from it.
    """
    for row in range(iterations.shape[0]):
        t = iterations[row]
        if row > 0 and t == iterations[row - 1] + 1:
            above = out[row - 1]
            merge_in_row(above, above[merges[t, 0]], above[merges[t, 1]], out[row])
        else:
            groups_at(absorbed_at, into, t, out[row])


@kernel()
def sizes_before(merges, n, out):
    """Fill out (T, 2) with the sizes of the two groups of each merge, before it."""
    sizes = np.ones(n, np.int64)
    for t in range(merges.shape[0]):
        kept = merges[t, 0]
        absorbed = merges[t, 1]
        out[t, 0] = sizes[kept]
        out[t, 1] = sizes[absorbed]
        sizes[kept] += sizes[absorbed]
