"""When the groups of a consensus fire: by the code of groups.md, as groups found in one run do, fitted to the samples.

A consensus says which components belong together, not when they fire. "Any component active" is a union: where each
of twenty components is now and then active by itself, it holds mostly samples on which the group does nothing. So each
group has its two-state code fitted (rate f of firing; component i active with probability p_i when it fires, q_i when
not, independently; by EM, as in groups/kernels/fit.py) and fires where the posterior is above 1/2.

EM finds the nearest best answer, so it starts from each of: any, two, more than half of the components are active; the
likeliest answer is taken. A group of one, or with any component active on fewer than MIN_SAMPLES samples, or whose code
says that components are active less where it fires, fires where any component is active.
"""

from dataclasses import replace
from math import gcd

import numpy as np
from scipy.special import expit, logit

from spd.clustering.report.grouping import POSTERIOR, Grouping
from spd.clustering.report.samples import ByComponent, Samples

MIN_SAMPLES = 10
MAX_ENTRIES = 16 * 2**20
"""Active entries that are fitted to; with more, every s-th sample is."""
PRIOR = 0.5
"""Counts added on either side of every rate (Krichevsky and Trofimov 1981)."""
_ROUNDS, _TOLERANCE = 200, 1e-3
"""At most so many rounds; until one brings fewer nats."""

Rule = tuple[np.ndarray, float]
"""(weights of the components, bias): fires where the bias and the weights of the active ones sum to more than 0."""


def fitted(grouping: Grouping, samples: Samples | None) -> Grouping:
    """A consensus whose groups fire by their code; other groups have their rule already, and are given back."""
    return grouping if samples is None or not grouping.is_consensus else with_code(grouping, samples)


def with_code(grouping: Grouping, samples: Samples) -> Grouping:
    """The same groups, each firing where its code, fitted to the samples, says so."""
    columns, step = samples.columns, thinning(samples)
    weights, biases = np.ones(len(grouping.labels)), np.full(grouping.n_groups, -0.5)
    for place, members in enumerate(grouping.members):
        weights[members], biases[place] = code_rule(columns, members, samples.n_samples, step)
    return replace(grouping, firing_rule=POSTERIOR, weights=weights, biases=biases)


def thinning(samples: Samples) -> int:
    """Every how manieth sample is fitted to: of sequences, all positions get their share, since some groups fire on few
    of them."""
    step = max(1, -(-len(samples.columns.rows) // MAX_ENTRIES))
    length = 1 if samples.tokens is None else samples.tokens.shape[1]
    while gcd(step, length) > 1:
        step += 1
    return step


def any_rule(n_components: int) -> Rule:
    """Fires where any component is active."""
    return np.ones(n_components), -0.5


def code_rule(columns: ByComponent, components: np.ndarray, n_samples: int, step: int = 1) -> Rule:
    """The rule of a group of these components, by its code.

    Args:
        step: only every so manieth sample is fitted to.
    """
    size = len(components)
    active = [columns.active(int(component)) for component in components]
    if step > 1:
        active = [rows[rows % step == 0] for rows in active]
    samples, seen = np.unique(np.concatenate(active), return_inverse=True)
    if size < 2 or len(samples) < MIN_SAMPLES:
        return any_rule(size)
    component = np.repeat(np.arange(size), [len(rows) for rows in active])
    n_active = np.bincount(seen)
    n_counted = -(-n_samples // step)
    best, best_nats = any_rule(size), -np.inf
    for least in sorted({1, 2, size // 2 + 1}):
        rule, nats = _fit(seen, component, size, n_counted, n_active >= least)
        if nats > best_nats:
            best, best_nats = rule, nats
    return best if best[0].sum() > 0 else any_rule(size)


def _fit(seen: np.ndarray, component: np.ndarray, size: int, n_samples: int, start: np.ndarray) -> tuple[Rule, float]:
    """EM from the firing `start` on the samples seen, none elsewhere; its rule and its log likelihood in nats.

    Args:
        seen, component: (e,) sample and component of each active entry, samples numbered as seen, 0 .. n_seen - 1.
        start: (n_seen,) bool.
    """
    tau, tau_silent, n_silent = start.astype(np.float64), 0.0, n_samples - len(start)
    count = np.bincount(component, minlength=size)
    weights, bias, nats, last = np.ones(size), -0.5, -np.inf, -np.inf
    for _ in range(_ROUNDS):
        fired = float(tau.sum() + n_silent * tau_silent)
        rate = (fired + PRIOR) / (n_samples + 2 * PRIOR)
        joint = np.bincount(component, tau[seen], size)
        p = (joint + PRIOR) / (fired + 2 * PRIOR)
        q = (np.maximum(count - joint, 0) + PRIOR) / (n_samples - fired + 2 * PRIOR)
        weights = logit(p) - logit(q)
        bias = float(logit(rate) + (np.log1p(-p) - np.log1p(-q)).sum())
        score = np.bincount(seen, weights[component], len(start)) + bias
        nats = float(
            n_samples * (np.log1p(-rate) + np.log1p(-q).sum())
            + count @ logit(q)
            + np.logaddexp(0, score).sum()
            + n_silent * np.logaddexp(0, bias)
        )
        tau, tau_silent = expit(score), float(expit(bias))
        if nats - last < _TOLERANCE:
            break
        last = nats
    return (weights, bias), nats
