"""The search for groups, slow and plain: dense matrices, every sample on its own, one join after another.

The formulas are those of docs/groups.md; nothing here is shared with spd.clustering.groups but its numbers.
"""

import numpy as np

MIN_SHARE, HIGH_SHARE, NESTED, WITHIN = 0.05, 0.2, 2 / 3, 0.9
FAR = 300.0


def entropy(p):
    p = np.asarray(p, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(-p * np.log2(p)) + np.nan_to_num(-(1 - p) * np.log2(1 - p))


def affinities(x):
    """(n, n) normalised pointwise mutual information; 0 where log2 n bits do not support it. x: (samples, n) bool."""
    n_samples, n = x.shape
    both = x.T.astype(float) @ x
    counts = np.diagonal(both).copy()
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            c, expected = both[i, j], counts[i] * counts[j] / n_samples
            if i != j and c > expected and c * np.log(c / expected) - (c - expected) >= np.log2(n) * np.log(2):
                found[i, j] = np.log(c / expected) / np.log(n_samples / c)
    return found


def average_linkage(affinity):
    """Joins (a, b, mean affinity), least components, the nearest pair first, until all means are 0."""
    affinity = affinity.copy()
    np.fill_diagonal(affinity, -1)
    size, joins = np.ones(len(affinity)), []
    while True:
        a, b = np.unravel_index(np.argmax(affinity), affinity.shape)
        if affinity[a, b] <= 0:
            return joins
        a, b = min(a, b), max(a, b)
        joins.append((int(a), int(b), float(affinity[a, b])))
        mean = (size[a] * affinity[a] + size[b] * affinity[b]) / (size[a] + size[b])
        keep = affinity[a] >= 0
        affinity[a, keep] = affinity[keep, a] = mean[keep]
        affinity[a, a] = -1
        affinity[b] = affinity[:, b] = -1
        size[a] += size[b]


def log_ratio(x, p, q):
    """(samples,) log likelihood ratio of firing, for the members' activity x (samples, m)."""
    return np.where(x, np.log(p) - np.log(q), np.log(1 - p) - np.log(1 - q)).sum(axis=1)


def fit(x, tau, rounds, tolerance):
    """EM of the two-state code from posteriors tau (samples,): nats, f, p, q, tau."""
    n_samples, last = len(x), -np.inf
    for _ in range(rounds):
        n1 = tau.sum()
        f = (n1 + 0.5) / (n_samples + 1)
        on = x.T.astype(float) @ tau
        p = (on + 0.5) / (n1 + 1)
        q = (np.maximum(x.sum(axis=0) - on, 0) + 0.5) / (n_samples - n1 + 1)
        fires = np.log(f) + np.where(x, np.log(p), np.log(1 - p)).sum(axis=1)
        silent = np.log(1 - f) + np.where(x, np.log(q), np.log(1 - q)).sum(axis=1)
        nats = np.logaddexp(fires, silent).sum()
        tau = np.exp(fires - np.logaddexp(fires, silent))
        if nats - last < tolerance:
            break
        last = nats
    return nats, f, p, q, tau


def couple(ratio_a, ratio_b, rounds):
    """EM of the table (both, only a, only b, none) of two firings; (nats above "never fires", table, states)."""
    a, b = np.clip(ratio_a, -FAR, FAR), np.clip(ratio_b, -FAR, FAR)
    both, only_a, only_b = ((a > 0) & (b > 0)).sum(), ((a > 0) & (b <= 0)).sum(), ((a <= 0) & (b > 0)).sum()
    table = np.array([both + 0.5, only_a + 0.5, only_b + 0.5, max(len(a) - both - only_a - only_b - 1.5, 0.5)])
    table = table / table.sum()
    weights = np.exp(np.stack([a + b, a, b, np.zeros(len(a))]))
    for _ in range(rounds):
        states = table[:, None] * weights
        states = states / states.sum(axis=0)
        new = states.mean(axis=1)
        change = np.abs(new - table)[:3].sum()
        table = new
        if change < 1e-3 * table[:3].sum():
            break
    states = table[:, None] * weights
    cut_off = np.maximum(ratio_a - FAR, 0).sum() + np.maximum(ratio_b - FAR, 0).sum()
    return np.log(states.sum(axis=0)).sum() + cut_off, table, states / states.sum(axis=0)


def theil(table):
    """Theil's coefficient of the weaker side; 0 where two firings do not meet more often than by chance."""
    a, b = table[0] + table[1], table[0] + table[2]
    if table[0] <= a * b:
        return 0.0
    logs = np.log2(table, out=np.zeros(4), where=table > 0)
    info = entropy(a) + entropy(b) + float(table @ logs)
    return max(info, 0.0) / max(entropy(a), entropy(b))


def joined(x, left, right, n, clumps):
    """Whether two groups are one, and the code of the union. A group: (members, nats, p, q)."""
    half = 0.5 * np.log2(len(x))
    members = [*left[0], *right[0]]
    ratios, base = [], 0.0
    for own, _, p, q in (left, right):
        if len(own) == 1:
            ratios.append(np.where(x[:, own[0]], FAR, -FAR))
            base -= FAR * x[:, own[0]].sum()
        else:
            ratios.append(log_ratio(x[:, own], p, q))
            base += np.where(x[:, own], np.log(q), np.log(1 - q)).sum()
    nats, table, states = couple(*ratios, 60)
    nats, share = nats + base, theil(table)
    if share < MIN_SHARE:
        return None, share
    needed = np.log2(n) * (2 * np.sqrt(clumps[left[0]].mean() * clumps[right[0]].mean()) - 1)
    one, _, p, q, _ = fit(x[:, members], 1 - states[3], 60, 0.2)
    union = (members, one, p, q)
    apart = left[1] + right[1]
    if min(len(left[0]), len(right[0])) == 1:
        return (union if (nats - apart) / np.log(2) - half > needed else None), share
    if (one - apart) / np.log(2) + half > needed and (nats - one) / np.log(2) <= 2 * half:
        return union, share
    if share < HIGH_SHARE:
        return None, share
    a, b = table[0] + table[1], table[0] + table[2]
    is_nested = table[0] / min(a, b) > WITHIN and table[0] / (a + b - table[0]) < NESTED
    if is_nested and not tells_more(x, left[0], right[0], states):
        return None, share
    return union, share


def tells_more(x, left, right, states):
    """Whether a component depends on the other group's firing where its own is given."""
    total = states.sum(axis=1)
    for members, pairs in ((left, ((0, 1), (2, 3))), (right, ((0, 2), (1, 3)))):
        for i in members:
            count = states @ x[:, i]
            bits = 0.0
            for k, o in pairs:
                both = total[k] + total[o]
                bits += both * entropy((count[k] + count[o]) / both)
                bits -= sum(total[s] * entropy(count[s] / total[s]) for s in (k, o))
            if bits > np.log2(len(x)):
                return True
    return False


def clumping(x, max_lag=64):
    """(n,) 1 + 2 sum of squared autocorrelations that are above 0."""
    rate, found = x.mean(axis=0), np.ones(x.shape[1])
    for lag in range(1, min(max_lag, len(x) - 1) + 1):
        together = (x[lag:] & x[:-lag]).sum(axis=0) / x.sum(axis=0)
        found += 2 * np.maximum((together - rate) / (1 - rate), 0) ** 2
    return found


def find(x):
    """(group of each component by its least one, Theil's coefficient of each join), for columns neither silent nor
    full."""
    n = x.shape[1]
    clumps, s = clumping(x), x.mean(axis=0)
    alone = len(x) * (s * np.log(s) + (1 - s) * np.log(1 - s))
    groups = {i: ([i], alone[i], np.ones(1), np.zeros(1)) for i in range(n)}
    group_of, whole, shares = np.arange(n), np.ones(n, bool), {}
    for a, b, _ in average_linkage(affinities(x)):
        union = None
        if whole[a] and whole[b]:
            union, shares[a, b] = joined(x, groups[a], groups[b], n, clumps)
        if union is None:
            whole[a] = False
            continue
        groups[a] = union
        group_of[union[0]] = a
    return group_of, shares
