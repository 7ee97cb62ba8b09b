"""Are two groups one? The decisions along a tree, one wave of independent joins at a time.

A wave holds joins whose groups do not meet, so that they may run in parallel; every join reads and writes what belongs
to its own components only, so the result does not depend on the number of threads.
"""

import numpy as np

from spd.clustering.groups.kernels.bits import entropy
from spd.clustering.groups.kernels.fit import FAR, add_scores, couple, fit, gather, rates_of, shared_information
from spd.clustering.math.kernels.jit import helper, kernel

PAIR, SINGLE, CODE, SHARE = 1, 2, 3, 4
"""Why a join was made: two components; a component and a group; one code is shorter; the firings are mostly joint."""
MIN_SHARE = 0.05
"""Theil's coefficient of two firings below which they are two, whatever the evidence that they are related."""
HIGH_SHARE = 0.2
"""... from which on they are one although two coupled firings describe them better, unless one is nested in the
other."""
NESTED, WITHIN = 2 / 3, 0.9
"""Nested: of the inner group's firings at least the share WITHIN lie within the outer's, joint ones are fewer than the
share NESTED of all, and given both firings no component tells of the other group's."""
ROUNDS = np.int64(60)
"""Rounds of EM at most. No literal: numba compiles a function once more for each literal that it is called with."""


@kernel()
def lay_out(merges, n, leaves, bounds, wave):
    """Lay a forest out so that the components of every join stand together.

    Args:
        merges: (m, 2) least components of the two groups joined.
        leaves: (n,) out: components. bounds: (m, 3) out: join t joins leaves[bounds[t, 0]:bounds[t, 1]] and
            leaves[bounds[t, 1]:bounds[t, 2]]. wave: (m,) out: joins of the same wave do not meet.

    Returns:
        number of waves.
    """
    follows, last, size = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    depth, position, is_head = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.bool_)
    for i in range(n):
        follows[i], last[i], size[i], depth[i], is_head[i] = -1, i, 1, 0, True
    n_waves = 0
    for t in range(len(merges)):
        a, b = merges[t, 0], merges[t, 1]
        follows[last[a]] = b
        last[a] = last[b]
        is_head[b] = False
        wave[t] = max(depth[a], depth[b])
        depth[a] = wave[t] + 1
        n_waves = max(n_waves, depth[a])
    place = 0
    for head in range(n):
        i = head if is_head[head] else -1
        while i >= 0:
            leaves[place], position[i] = i, place
            place += 1
            i = follows[i]
    for t in range(len(merges)):
        a, b = merges[t, 0], merges[t, 1]
        bounds[t, 0], bounds[t, 1] = position[a], position[b]
        bounds[t, 2] = position[b] + size[b]
        size[a] += size[b]
    return n_waves


@kernel(nogil=True)
def join_wave(col_ptr, cols, n_samples, leaves, bounds, merges, wave, clumps, state, p, q, mark, reason, share):
    """Decide the joins `wave` (their numbers), none of which meets another.

    Args:
        clumps: (n,) how many successive samples count as one for a component.
        state: (n, 3) by a group's least component: 1 while all joins that made it were made; its rate f; its log
            likelihood in nats. p, q: (n,) of its components.
        mark: (n_samples,) int32, zeros, and zeros again afterwards.
        reason: (m,) out: why joined, 0 where not. share: (m,) out: Theil's coefficient, 0 where not asked.
    """
    for t in wave:
        a, b = merges[t, 0], merges[t, 1]
        if state[a, 0] > 0 and state[b, 0] > 0:
            members, n_left = leaves[bounds[t, 0] : bounds[t, 2]], bounds[t, 1] - bounds[t, 0]
            left, right = state[a], state[b]
            reason[t], share[t] = _decide(col_ptr, cols, n_samples, members, n_left, left, right, clumps, p, q, mark)
            state[a, 0] = 1.0 if reason[t] else 0.0
        else:
            state[a, 0] = 0.0


@helper()
def _decide(col_ptr, cols, n_samples, members, n_left, left, right, clumps, p, q, mark):
    """(why the first n_left of the members and the others are one, 0 where they are not; Theil's coefficient)."""
    n, m = len(p), len(members)
    n_entries = 0
    for i in members:
        n_entries += col_ptr[i + 1] - col_ptr[i]
    samples, seen = np.empty(n_entries, np.int32), np.empty(n_entries, np.int32)
    ptr = np.empty(m + 1, np.int64)
    n_seen = gather(col_ptr, cols, members, mark, samples, ptr, seen)
    own_p, own_q = rates_of(members, p, q)
    ea, eb, ptr_a, ptr_b = np.zeros(n_seen), np.zeros(n_seen), ptr[: n_left + 1], ptr[n_left:]
    ea_silent, cut_a = _ratios(ptr_a, seen, own_p[:n_left], own_q[:n_left], ea)
    eb_silent, cut_b = _ratios(ptr_b, seen, own_p[n_left:], own_q[n_left:], eb)
    table, told = np.empty(4), np.empty(4)
    start_table(ea, eb, n_samples, table)
    nats = couple(ea, eb, n_seen, ea_silent, eb_silent, n_samples, ROUNDS, table)
    nats += cut_a + cut_b + _baseline(ptr_a, own_q[:n_left], n_samples) + _baseline(ptr_b, own_q[n_left:], n_samples)
    shared_information(table, told)
    if told[1] < MIN_SHARE:
        return 0, told[1]
    half, bit = 0.5 * np.log2(n_samples), np.log(2.0)
    clumping = np.sqrt(_mean(clumps, members[:n_left]) * _mean(clumps, members[n_left:]))
    needed = np.log2(n) * (2 * clumping - 1)
    related = (nats - left[2] - right[2]) / bit - half
    is_single = n_left == 1 or m - n_left == 1
    reason = 0
    if is_single:
        if related <= needed:
            return 0, told[1]
        reason = PAIR if m == 2 else SINGLE
    tau, score = np.empty(n_seen), np.empty(n_seen)
    for x in range(n_seen):
        v = table[0] * ea[x] * eb[x] + table[1] * ea[x] + table[2] * eb[x]
        tau[x] = v / (v + table[3])
    v = table[0] * ea_silent * eb_silent + table[1] * ea_silent + table[2] * eb_silent
    tau_silent = v / (v + table[3])
    one, f, _ = fit(ptr, seen, n_seen, n_samples, ROUNDS, 0.2, tau, tau_silent, own_p, own_q, score)
    if not is_single:
        gain = (one - left[2] - right[2]) / bit + half
        if gain > needed and (nats - one) / bit <= 2 * half:
            reason = CODE
        elif told[1] >= HIGH_SHARE:
            is_nested = told[3] > WITHIN and told[2] < NESTED
            if not is_nested or _tells_more(
                ptr, seen, n_left, n_seen, n_samples, ea, eb, ea_silent, eb_silent, table, half
            ):
                reason = SHARE
    if reason:
        left[1], left[2] = f, one
        for a in range(m):
            p[members[a]], q[members[a]] = own_p[a], own_q[a]
    return reason, told[1]


@helper()
def _mean(values, which):
    total = 0.0
    for i in which:
        total += values[i]
    return total / len(which)


@helper()
def _ratios(ptr, seen, p, q, ratio):
    """ratio (n_seen,), in: zeros; out: likelihood ratios of a group's firing, at most e^FAR.

    Returns:
        (that of a sample on which the group is silent, the nats cut off, which count in full where it surely fires).
    """
    if len(p) == 1:
        silent = -FAR
        for e in range(ptr[0], ptr[1]):
            ratio[seen[e]] = 2 * FAR
    else:
        silent = add_scores(ptr, seen, p, q, ratio)
    cut_off = 0.0
    for x in range(len(ratio)):
        r = ratio[x] + silent
        cut_off += max(r - FAR, 0.0)
        ratio[x] = np.exp(min(max(r, -FAR), FAR))
    return np.exp(min(max(silent, -FAR), FAR)), cut_off


@helper()
def _baseline(ptr, q, n_samples):
    """Log likelihood of a group's activity if it never fired: what `couple` counts from."""
    nats = 0.0
    for a in range(len(q)):
        count = ptr[a + 1] - ptr[a]
        if len(q) == 1:
            nats -= FAR * count
        else:
            nats += n_samples * np.log(1 - q[a]) + count * np.log(q[a] / (1 - q[a]))
    return nats


@helper()
def start_table(ea, eb, n_samples, table):
    """Where `couple` starts: the firings counted as if they were seen, half a count on each side."""
    both = only_a = only_b = 0.5
    for x in range(len(ea)):
        if ea[x] > 1 and eb[x] > 1:
            both += 1
        elif ea[x] > 1:
            only_a += 1
        elif eb[x] > 1:
            only_b += 1
    none = max(n_samples - both - only_a - only_b, 0.5)
    total = both + only_a + only_b + none
    table[0], table[1], table[2], table[3] = both / total, only_a / total, only_b / total, none / total


@helper()
def _tells_more(ptr, seen, n_left, n_seen, n_samples, ea, eb, ea_silent, eb_silent, table, half):
    """Whether some component depends on the other group's firing even where its own group's is given: two more
    parameters pay for themselves. So it is in a group whose members join at different strengths of its firing,
    wherever it is cut."""
    states, total, count = np.empty((n_seen + 1, 4)), np.zeros(4), np.empty(4)
    for x in range(n_seen + 1):
        a, b = (ea[x], eb[x]) if x < n_seen else (ea_silent, eb_silent)
        u11, u10, u01, u00 = table[0] * a * b, table[1] * a, table[2] * b, table[3]
        u = u11 + u10 + u01 + u00
        if x < n_seen:
            states[x, 0], states[x, 1], states[x, 2], states[x, 3] = u11 / u, u10 / u, u01 / u, u00 / u
        else:
            share = (n_samples - n_seen) / u
            states[x, 0], states[x, 1], states[x, 2], states[x, 3] = u11 * share, u10 * share, u01 * share, u00 * share
        for k in range(4):
            total[k] += states[x, k]
    for a in range(len(ptr) - 1):
        count[:] = 0.0
        for e in range(ptr[a], ptr[a + 1]):
            for k in range(4):
                count[k] += states[seen[e], k]
        other = 1 if a < n_left else 2  # the state that differs from "both" in the other group's firing
        bits = 0.0
        for k in range(0, 4 - other, 3 - other):  # 0, 3 - other
            bits += _merged_bits(count, total, k, k + other)
        if bits > 2 * half:
            return True
    return False


@helper()
def _merged_bits(count, total, k, o):
    """Bits that are lost when a component's rate is the same in two states."""
    both = total[k] + total[o]
    if both <= 0:
        return 0.0
    bits = both * entropy((count[k] + count[o]) / both)
    for s in (k, o):
        if total[s] > 0:
            bits -= total[s] * entropy(min(count[s] / total[s], 1.0))
    return bits
