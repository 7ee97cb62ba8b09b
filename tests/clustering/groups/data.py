"""Small memberships with and without groups."""

import numpy as np


def planted(seed, n_groups=12, max_size=6, n_samples=1500, noise=0.002):
    """(samples, n) bool and the group of each component: independent groups, members active in 40 to 95% of firings."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_groups), rng.integers(1, max_size + 1, n_groups))
    fires = rng.random((n_samples, n_groups)) < rng.uniform(0.02, 0.15, n_groups)
    x = fires[:, truth] & (rng.random((n_samples, len(truth))) < rng.uniform(0.4, 0.95, len(truth)))
    x |= rng.random(x.shape) < noise
    order = rng.permutation(len(truth))
    return x[:, order], truth[order]


def nested(seed, n_samples=3000):
    """Two groups of five, the second fires only where the first does, half as often."""
    rng = np.random.default_rng(seed)
    outer = rng.random(n_samples) < 0.1
    inner = outer & (rng.random(n_samples) < 0.5)
    fires = np.stack([outer] * 5 + [inner] * 5, axis=1)
    return fires & (rng.random(fires.shape) < 0.8), np.repeat([0, 1], 5)


def same_partition(a, b):
    """Whether two labelings are one partition."""
    return len(set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True))) == len(set(a)) == len(set(b))
