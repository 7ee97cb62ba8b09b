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
        members, group_ptr: the components of each group. entry_ptr: (k + 1,) their number of entries, summed up, from
            the first of the groups on for which there is room in `fired`.
        p, q: (n,) in: where to start; out: probability of being active when the group fires, and when not.
        mark: (n_samples,) int32, zeros, and zeros again afterwards.
        rate: (k,) out. fired: out, group g's samples with a posterior above one half at entry_ptr[g], in no
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
