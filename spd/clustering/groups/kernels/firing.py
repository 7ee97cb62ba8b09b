"""What is known of a group once it is found: its rates, on which samples it fires, and how much it tells of each
member."""

import numpy as np

from spd.clustering.groups.kernels.fit import (
    FAR,
    add_scores,
    couple,
    fit,
    gather,
    logistic,
    rates_of,
    shared_information,
)
from spd.clustering.groups.kernels.join import start_table
from spd.clustering.math.kernels.jit import helper, kernel

FIT_ROUNDS, MEMBER_ROUNDS = np.int64(200), np.int64(20)  # no literals: see join.ROUNDS


@kernel(nogil=True)
def describe_groups(
    col_ptr, cols, n_samples, members, group_ptr, entry_ptr, which, p, q, mark, rate, fired, n_fired, told, evidence
):
    """Fit the groups `which` of two or more once more, until nothing changes, and ask what each tells of its members.

    Args:
        members, group_ptr: the components of each group. entry_ptr: (k + 1,) their number of entries, summed up.
        p, q: (n,) in: where to start; out: probability of being active when the group fires, and when not.
        mark: (n_samples,) int32, zeros, and zeros again afterwards.
        rate: (k,) out. fired: (nnz,) out, group g's samples with a posterior above one half at entry_ptr[g], in no
            order; n_fired: (k,) out, zeros.
        told: (n,) out: Theil's coefficient of a component and the firing as the rest of the group shows it.
        evidence: (n,) out: log likelihood ratio of that, in bits, less half log2 N.
    """
    for g in which:
        inside = members[group_ptr[g] : group_ptr[g + 1]]
        m, n_entries = len(inside), entry_ptr[g + 1] - entry_ptr[g]
        samples, seen, ptr = np.empty(n_entries, np.int32), np.empty(n_entries, np.int32), np.empty(m + 1, np.int64)
        n_seen = gather(col_ptr, cols, inside, mark, samples, ptr, seen)
        own_p, own_q = rates_of(inside, p, q)
        tau, score = np.zeros(n_seen), np.empty(n_seen)
        silent = add_scores(ptr, seen, own_p, own_q, tau) + np.log(rate[g] / (1 - rate[g]))
        for x in range(n_seen):
            tau[x] = logistic(tau[x] + silent)
        _, f, _ = fit(ptr, seen, n_seen, n_samples, FIT_ROUNDS, 1e-3, tau, logistic(silent), own_p, own_q, score)
        rate[g] = f
        for x in range(n_seen):
            score[x] = 0.0
            if tau[x] > 0.5:
                fired[entry_ptr[g] + n_fired[g]] = samples[x]
                n_fired[g] += 1
        silent = add_scores(ptr, seen, own_p, own_q, score)
        for a in range(m):
            i = inside[a]
            p[i], q[i] = own_p[a], own_q[a]
            told[i], evidence[i] = _member(ptr, seen, a, n_samples, own_p[a], own_q[a], score, silent)


@helper()
def _member(ptr, seen, a, n_samples, p, q, score, silent):
    """Component a against the firing as the others show it: (Theil's coefficient, evidence in bits).

    score, silent: log likelihood ratios of the whole group, from which the component's own part is taken out.
    """
    n_seen, n_active = len(score), ptr[a + 1] - ptr[a]
    weight, own_silent = np.log(p / (1 - p)) - np.log(q / (1 - q)), np.log(1 - p) - np.log(1 - q)
    is_active, rest = np.empty(n_seen), np.empty(n_seen)
    for x in range(n_seen):
        is_active[x] = np.exp(-FAR)
        rest[x] = score[x] + silent - own_silent
    for e in range(ptr[a], ptr[a + 1]):
        is_active[seen[e]] = np.exp(FAR)
        rest[seen[e]] -= weight
    for x in range(n_seen):
        rest[x] = np.exp(min(max(rest[x], -FAR), FAR))
    rest_silent = np.exp(min(max(silent - own_silent, -FAR), FAR))
    table, shared = np.empty(4), np.empty(4)
    start_table(is_active, rest, n_samples, table)
    nats = couple(is_active, rest, n_seen, np.exp(-FAR), rest_silent, n_samples, MEMBER_ROUNDS, table)
    nats -= FAR * n_active  # `couple` counts from a component that is never active, which its activity contradicts
    shared_information(table, shared)
    f, s = table[0] + table[2], n_active / n_samples
    alone = n_samples * (s * np.log(s) + (1 - s) * np.log(1 - s))
    apart = (n_samples - n_seen) * np.log(f * rest_silent + 1 - f)
    for x in range(n_seen):
        apart += np.log(f * rest[x] + 1 - f)
    return shared[1], (nats - alone - apart) / np.log(2.0) - 0.5 * np.log2(n_samples)


@kernel()
def firing_posterior(col_ptr, cols, inside, f, p, q, posterior):
    """posterior (n_samples,) of one group's firing on every sample, given f and its members' p and q."""
    silent = np.log(f / (1 - f))
    for a in range(len(inside)):
        silent += np.log(1 - p[a]) - np.log(1 - q[a])
    posterior[:] = silent
    for a in range(len(inside)):
        weight = np.log(p[a] / (1 - p[a])) - np.log(q[a] / (1 - q[a]))
        for e in range(col_ptr[inside[a]], col_ptr[inside[a] + 1]):
            posterior[cols[e]] += weight
    for t in range(len(posterior)):
        posterior[t] = logistic(posterior[t])


@kernel(nogil=True)
def other_groups(
    col_ptr,
    cols,
    group_of,
    fire_ptr,
    fires,
    rate,
    bin_of,
    rates,
    clumps,
    scratch,
    limit,
    min_shares,
    first,
    last,
    found,
    share,
):
    """Which other groups fire where a component, one of first .. last - 1, is active though its own group does not.

    By chance another group fires there as often as at all; or as often as where the component is active with its own
    group (the firings of some groups are correlated, and some firings of the own group are missed); or as often as on
    samples on which as many of the others fire (some samples activate more than others): the most of these.

    Args:
        fire_ptr, fires: the groups that fire on each sample. rate: (k,) share of the samples on which a group fires.
        bin_of: (most groups on a sample + 1,) bin of a number of groups. rates: (k, bins) share of the samples on which
            a group fires, by the bin of the number of other groups that fire there.
        clumps: (n,) how many successive samples count as one. scratch: (3, k) int32, two rows of zeros, and zeros
            again afterwards. limit: bits of evidence needed. min_shares: of the component's activity, and of the other
            group's firings.
        found, share: (n, slots) out: groups, -1 where there is none, and the share of the component's activity that
            falls on their firings beyond chance, the largest first.
    """
    slots, n_samples = found.shape[1], len(fire_ptr) - 1
    count, with_own, touched = scratch[0], scratch[1], scratch[2]
    for i in range(first, last):
        n_touched, n_left, own = 0, 0, group_of[i]
        n_active = col_ptr[i + 1] - col_ptr[i]
        needed = limit * clumps[i] * 0.6931471805599453
        for e in range(col_ptr[i], col_ptr[i + 1]):
            t = cols[e]
            is_own = False
            for x in range(fire_ptr[t], fire_ptr[t + 1]):
                is_own |= fires[x] == own
            n_left += 0 if is_own else 1
            for x in range(fire_ptr[t], fire_ptr[t + 1]):
                g = fires[x]
                if count[g] == 0 and with_own[g] == 0:
                    touched[n_touched] = g
                    n_touched += 1
                if is_own:
                    with_own[g] += 1
                else:
                    count[g] += 1
        for x in range(n_touched):
            g = touched[x]
            chance = max(rate[g], with_own[g] / max(n_active - n_left, 1))
            c, expected = float(count[g]), n_left * chance
            count[g], with_own[g] = 0, 0
            least = max(min_shares[0] * n_active, min_shares[1] * rate[g] * n_samples)
            if not _is_more(c, expected, least, needed):
                continue
            samples = cols[col_ptr[i] : col_ptr[i + 1]]
            expected = max(expected, _expected_by_number(samples, own, g, fire_ptr, fires, bin_of, rates))
            if not _is_more(c, expected, least, needed):
                continue
            value = (c - expected) / n_active
            slot = slots
            while slot > 0 and (
                found[i, slot - 1] < 0
                or value > share[i, slot - 1]
                or (value == share[i, slot - 1] and g < found[i, slot - 1])
            ):
                slot -= 1
            if slot < slots:
                for y in range(slots - 1, slot, -1):
                    found[i, y], share[i, y] = found[i, y - 1], share[i, y - 1]
                found[i, slot], share[i, slot] = g, value


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
