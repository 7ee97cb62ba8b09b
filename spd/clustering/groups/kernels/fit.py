"""The two-state code of a group, fitted by expectation and maximisation (EM).

A group fires on a sample or not, at rate f. Its component i is active with probability p_i when it fires and q_i when
not, independently given the firing: a latent class model with two classes (Lazarsfeld 1950; fitted by EM: Goodman 1974;
Dempster, Laird and Rubin 1977). All samples on which no component of the group is active look the same to it and share
one posterior, so that a round visits each active entry of the group twice and nothing else.

In these functions a group's samples are numbered 0 .. n_seen - 1, those on which a component is active; entries
`seen[ptr[a]:ptr[a + 1]]` are the samples of its component a, by these numbers.
"""

import numpy as np

from spd.clustering.groups.kernels.bits import entropy, plogp
from spd.clustering.math.kernels.jit import helper

PRIOR = 0.5
"""Counts added on either side of every rate (Krichevsky and Trofimov 1981); keeps rates off 0 and 1."""
FAR = 300.0
"""Log likelihood ratios are cut off here; it is also that of a component that is alone, which is its own firing. Two
of them multiplied are still a float64."""


@helper()
def gather(col_ptr, cols, members, mark, samples, ptr, seen):
    """Number the samples of a group and list its entries by these numbers; returns the number of samples.

    mark: (n_samples,) int32, zeros, and zeros again afterwards. samples, seen: room for the group's entries.
    """
    n_seen, e = 0, 0
    ptr[0] = 0
    for a in range(len(members)):
        for x in range(col_ptr[members[a]], col_ptr[members[a] + 1]):
            t = cols[x]
            if mark[t] == 0:
                samples[n_seen] = t
                n_seen += 1
                mark[t] = n_seen
            seen[e] = mark[t] - 1
            e += 1
        ptr[a + 1] = e
    for x in range(n_seen):
        mark[samples[x]] = 0
    return n_seen


@helper()
def rates_of(members, p, q):
    """(p, q) of the members, copied."""
    own_p, own_q = np.empty(len(members)), np.empty(len(members))
    for a in range(len(members)):
        own_p[a], own_q[a] = p[members[a]], q[members[a]]
    return own_p, own_q


@helper()
def add_scores(ptr, seen, p, q, score):
    """score (n_seen,) plus log likelihood ratio (fires : does not) of components (of which p and q are given) being
    active where they are, relative to all of them being silent; returns the ratio of all of them being silent."""
    silent = 0.0
    for a in range(len(p)):
        w = np.log(p[a] / (1 - p[a])) - np.log(q[a] / (1 - q[a]))
        silent += np.log(1 - p[a]) - np.log(1 - q[a])
        for e in range(ptr[a], ptr[a + 1]):
            score[seen[e]] += w
    return silent


@helper(inline="always")
def log_1p_exp(v):
    """log(1 + exp(v)) without overflow."""
    return v + np.log1p(np.exp(-v)) if v > 0 else np.log1p(np.exp(v))


@helper(inline="always")
def logistic(v):
    """1 / (1 + exp(-v)) without overflow."""
    return 1 / (1 + np.exp(-v)) if v > 0 else np.exp(v) / (1 + np.exp(v))


@helper()
def fit(ptr, seen, n_seen, n_samples, rounds, tolerance, tau, tau_silent, p, q, score):
    """EM from the posteriors `tau` of the samples seen and `tau_silent` of the others.

    Args:
        rounds, tolerance: at most so many rounds; stop when one brings fewer nats than the tolerance.
        tau, p, q: out, posteriors and rates. score: scratch (n_seen,).

    Returns:
        (log likelihood in nats, rate f of firing, posterior of the silent samples).
    """
    m = len(ptr) - 1
    n_silent = float(n_samples - n_seen)
    f, last, nats = 0.5, -np.inf, -np.inf
    for _ in range(rounds):
        n1 = 0.0
        for x in range(n_seen):
            n1 += tau[x]
        n1 += n_silent * tau_silent
        n0 = n_samples - n1
        f = (n1 + PRIOR) / (n_samples + 2 * PRIOR)
        base1, base0, nats = np.log(f), np.log(1 - f), 0.0
        score[:n_seen] = 0.0
        for a in range(m):
            n11 = 0.0
            for e in range(ptr[a], ptr[a + 1]):
                n11 += tau[seen[e]]
            s = ptr[a + 1] - ptr[a]
            p[a] = (n11 + PRIOR) / (n1 + 2 * PRIOR)
            q[a] = (max(s - n11, 0.0) + PRIOR) / (n0 + 2 * PRIOR)
            log_odds = np.log(q[a] / (1 - q[a]))
            w = np.log(p[a] / (1 - p[a])) - log_odds
            base1 += np.log(1 - p[a])
            base0 += np.log(1 - q[a])
            nats += s * log_odds
            for e in range(ptr[a], ptr[a + 1]):
                score[seen[e]] += w
        d = base1 - base0
        nats += n_samples * base0 + n_silent * log_1p_exp(d)
        for x in range(n_seen):
            v = score[x] + d
            nats += log_1p_exp(v)
            tau[x] = logistic(v)
        tau_silent = logistic(d)
        if nats - last < tolerance:
            break
        last = nats
    return nats, f, tau_silent


@helper()
def couple(ea, eb, n_seen, ea_silent, eb_silent, n_samples, rounds, table):
    """The 2 x 2 table of two firings, by EM on their likelihood ratios ea, eb (n_seen,), above 0.

    Unlike the product of the posteriors this is not weakened where a firing is hard to see.

    Args:
        table: (4,) in: where to start; out: probabilities that both fire, only a, only b, none.

    Returns:
        log likelihood in nats, relative to neither firing anywhere.
    """
    n_silent = float(n_samples - n_seen)
    p11, p10, p01, p00 = table[0], table[1], table[2], table[3]
    for _ in range(rounds):
        u11, u10, u01 = p11 * ea_silent * eb_silent, p10 * ea_silent, p01 * eb_silent
        share = n_silent / (u11 + u10 + u01 + p00)
        c11, c10, c01, c00 = u11 * share, u10 * share, u01 * share, p00 * share
        for x in range(n_seen):
            u11, u10, u01 = p11 * ea[x] * eb[x], p10 * ea[x], p01 * eb[x]
            share = 1 / (u11 + u10 + u01 + p00)
            c11 += u11 * share
            c10 += u10 * share
            c01 += u01 * share
            c00 += p00 * share
        change = abs(c11 / n_samples - p11) + abs(c10 / n_samples - p10) + abs(c01 / n_samples - p01)
        p11, p10, p01, p00 = c11 / n_samples, c10 / n_samples, c01 / n_samples, c00 / n_samples
        if change < 1e-3 * (p11 + p10 + p01):
            break
    nats = n_silent * np.log(p11 * ea_silent * eb_silent + p10 * ea_silent + p01 * eb_silent + p00)
    for x in range(n_seen):
        nats += np.log(p11 * ea[x] * eb[x] + p10 * ea[x] + p01 * eb[x] + p00)
    table[0], table[1], table[2], table[3] = p11, p10, p01, p00
    return nats


@helper()
def shared_information(table, out):
    """out (4,): mutual information of two firings in bits a sample; Theil's coefficient, its share of the larger of
    the two entropies; the share of all firings that are joint; the larger share that the joint ones have in either."""
    a, b = table[0] + table[1], table[0] + table[2]
    out[:] = 0.0
    if table[0] <= a * b:
        return
    h_a, h_b = entropy(a), entropy(b)
    info = h_a + h_b + plogp(table[0]) + plogp(table[1]) + plogp(table[2]) + plogp(table[3])
    out[0] = max(info, 0.0)
    out[1] = out[0] / max(h_a, h_b, 1e-300)
    out[2] = table[0] / (a + b - table[0])
    out[3] = table[0] / min(a, b)
