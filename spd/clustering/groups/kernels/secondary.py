"""Which other groups fire where a component is active though its own group does not."""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


@kernel(nogil=True)
def count_firings(fire_ptr, fires, fired_ptr, fired, group_of, cols, places, ends, until, start, counts, first, last):
    """Count each group's firings on the samples cols[places[i]] .. until - 1 of the components i = start + first ..
    start + last - 1; each place moves behind them.

    Args:
        fire_ptr, fires: the groups that fire on each sample. fired_ptr, fired: the samples on which each group fires,
            ascending.
        group_of: (n,) a component's own group, -1 where it has none.
        cols: the samples of each component, ascending, one after another; ends: (n,) where its last one ends.
        counts: (2, n_components, k) int32, those of component i at i - start: where its own group does not fire, and
            where it does.
    """
    for i in range(start + first, start + last):
        begin, own = places[i], group_of[i]
        stop = begin + np.searchsorted(cols[begin : ends[i]], until)
        places[i] = stop
        y, y_end = (fired_ptr[own], fired_ptr[own + 1]) if own >= 0 else (0, 0)
        if begin < stop:
            y += np.searchsorted(fired[y:y_end], cols[begin])
        apart, joint = counts[0, i - start], counts[1, i - start]
        for e in range(begin, stop):
            t = cols[e]
            while y < y_end and fired[y] < t:
                y += 1
            if y < y_end and fired[y] == t:
                for x in range(fire_ptr[t], fire_ptr[t + 1]):
                    joint[fires[x]] += 1
            else:
                for x in range(fire_ptr[t], fire_ptr[t + 1]):
                    apart[fires[x]] += 1


@kernel(nogil=True)
def choose_others(
    fire_ptr,
    fires,
    group_of,
    rate,
    bin_of,
    rates,
    col_ptr,
    cols,
    needed,
    min_shares,
    start,
    counts,
    found,
    share,
    first,
    last,
):
    """The other groups of components start + first .. start + last - 1.

    By chance another group fires there as often as at all; or as often as where the component is active with its own
    group (the firings of some groups are correlated, and some firings of the own group are missed); or as often as on
    samples on which as many of the others fire (some samples activate more than others): the most of these.

    Args:
        fire_ptr, fires, group_of, counts: as `count_firings` has them. rate: (k,) share of the samples on which a group
            fires.
        bin_of: (most groups on a sample + 1,) bin of a number of groups. rates: (k, bins) share of the samples on which
            a group fires, by the bin of the number of other groups that fire there.
        needed: (n,) nats of evidence. min_shares: of the component's activity, and of the other group's firings.
        found, share: (n, slots) out: groups, -1 where there is none, and the share of the component's activity that
            falls on their firings beyond chance, the largest first.
    """
    n_samples = len(fire_ptr) - 1
    for i in range(start + first, start + last):
        apart, joint, own = counts[0, i - start], counts[1, i - start], group_of[i]
        samples = cols[col_ptr[i] : col_ptr[i + 1]]
        n_active = len(samples)
        n_joint = joint[own] if own >= 0 else 0
        for g in range(len(apart)):
            c = float(apart[g])
            if c < min_shares[0] * n_active or c == 0:
                continue
            expected = (n_active - n_joint) * max(rate[g], joint[g] / max(n_joint, 1))
            least = max(min_shares[0] * n_active, min_shares[1] * rate[g] * n_samples)
            if not _is_more(c, expected, least, needed[i]):
                continue
            expected = max(expected, _expected_by_number(samples, own, g, fire_ptr, fires, bin_of, rates))
            if _is_more(c, expected, least, needed[i]):
                _insert(g, (c - expected) / n_active, found[i], share[i])


@helper()
def _insert(g, value, found, share):
    """Put a group where it belongs among the largest shares; ties by the group's number."""
    slots = len(found)
    slot = slots
    while slot > 0 and (
        found[slot - 1] < 0 or value > share[slot - 1] or (value == share[slot - 1] and g < found[slot - 1])
    ):
        slot -= 1
    if slot < slots:
        for y in range(slots - 1, slot, -1):
            found[y], share[y] = found[y - 1], share[y - 1]
        found[slot], share[slot] = g, value


@helper(inline="always")
def _is_more(c, expected, least, needed):
    """Whether a count is beyond its expectation by `least`, and by so many nats of evidence (Poisson)."""
    return c - expected >= least and c * np.log(c / expected) - (c - expected) >= needed


@helper()
def _expected_by_number(samples, own, g, fire_ptr, fires, bin_of, rates):
    """On how many of the samples on which group `own` does not fire g would, by how many other groups fire there."""
    expected = 0.0
    for t in samples:
        is_own, n_others = False, fire_ptr[t + 1] - fire_ptr[t]
        for x in range(fire_ptr[t], fire_ptr[t + 1]):
            is_own |= fires[x] == own
            n_others -= 1 if fires[x] == g else 0
        if not is_own:
            expected += rates[g, bin_of[n_others]]
    return expected
