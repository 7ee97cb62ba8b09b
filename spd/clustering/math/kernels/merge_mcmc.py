"""The `mcmc` sampler: probability proportional to exp(-beta G), beta = 1 / (N temperature).

For each live p, mass[p] exp(-beta reference[p]) is an upper bound of its sum of weights exp(-beta G(p, .)): every G
grows as k falls, so a sum made earlier is one, and what a merge takes away is subtracted at its present weight, which
is no more than it was. A draw:

1. draw a row p by these bounds;
2. make its sum exact, and accept the row with probability exact / bound; if not, draw again, now with a better bound;
3. draw a partner by its exact weights.

Each unordered pair can be reached from both of its rows, with the same weight. Bounds are kept relative to a
reference near the row's own minimum and row weights relative to a reference of all rows, so nothing overflows, and
what underflows is below 1e-200 of the whole.
"""

import math

import numpy as np

from spd.clustering.math.kernels.merge_bounds import pair_cost, row_of
from spd.clustering.math.kernels.merge_jit import kernel
from spd.clustering.math.kernels.merge_random import uniform
from spd.clustering.math.kernels.merge_state import (
    ALIVE,
    K_ALIVE,
    MASS,
    MASS_REF,
    N_SAMPLES,
    NEED_ACTIVE,
    PARAMETER,
    REFERENCE,
    SCALE,
)

# Far above the rounding of a subtraction (1e-16 of the greatest term), far below what would cost a draw.
ROUNDING_GUARD = 1e-12
FAR = 60.0  # in units of 1 / beta: how much cheaper than its reference a row's pair may be


@kernel()
def inverse_temperature(sums):
    """beta, for costs that are not yet divided by the number of samples."""
    return 1.0 / (sums[N_SAMPLES] * sums[PARAMETER])


@kernel()
def finite_exp(exponent):
    """exp, but never infinite: what is cut off only asks for a new reference."""
    return math.exp(min(exponent, 600.0))


@kernel(nogil=True)
def weigh_row(state, p, row):
    """Make the bound of p exact and leave each partner's weight, by position, in the buffer."""
    floats, buffer = state.floats, state.scratch
    k = state.at[K_ALIVE]
    beta = inverse_temperature(state.sums)
    log_k = math.log2(max(k - 1, 1))
    need_active = state.at[NEED_ACTIVE] == 1
    least = np.inf
    for x in range(k):
        q = state.ints[ALIVE, x]
        count = row[q]
        value = pair_cost(state, p, q, count, log_k)
        if q == p or (need_active and count == 0):
            value = np.inf
        buffer[x] = value
        least = min(least, value)
    mass = 0.0
    for x in range(k):
        weight = math.exp(beta * (least - buffer[x])) if buffer[x] < np.inf else 0.0
        buffer[x] = weight
        mass += weight
    floats[MASS, p] = mass
    floats[REFERENCE, p] = least if mass > 0 else 0.0
    floats[SCALE, p] = finite_exp(beta * (state.sums[MASS_REF] - floats[REFERENCE, p]))


@kernel(nogil=True)
def start_weights(state, first, last):
    """Make the bounds of the groups at positions first .. last - 1 exact, before the first merge."""
    for x in range(first, last):
        p = state.ints[ALIVE, x]
        weigh_row(state, p, row_of(state, p))


@kernel()
def total_mass(state):
    """Sum of the row weights."""
    alive, mass, scale = state.ints[ALIVE], state.floats[MASS], state.floats[SCALE]
    total = 0.0
    for x in range(state.at[K_ALIVE]):
        total += mass[alive[x]] * scale[alive[x]]
    return total


@kernel()
def move_reference(state):
    """Measure row weights from the greatest of them; False when no row has any weight."""
    alive, mass, reference = state.ints[ALIVE], state.floats[MASS], state.floats[REFERENCE]
    k = state.at[K_ALIVE]
    beta = inverse_temperature(state.sums)
    best = np.inf
    for x in range(k):
        p = alive[x]
        if mass[p] > 0:
            best = min(best, reference[p] - math.log(mass[p]) / beta)
    if best == np.inf:
        return False
    state.sums[MASS_REF] = best
    for x in range(k):
        p = alive[x]
        state.floats[SCALE, p] = finite_exp(beta * (best - reference[p]))
    return True


@kernel()
def draw_row(state):
    """A container drawn by its bound; -1 when no pair has any weight."""
    total = total_mass(state)
    if not 1e-100 < total < 1e100:
        if not move_reference(state):
            return -1
        total = total_mass(state)
    wanted = uniform(state.random) * total
    last = np.int64(-1)
    for x in range(state.at[K_ALIVE]):
        p = state.ints[ALIVE, x]
        part = state.floats[MASS, p] * state.floats[SCALE, p]
        if part > 0:
            last = p
            wanted -= part
            if wanted < 0:
                break
    return last


@kernel()
def draw_by_weight(state):
    """The containers of a pair, (-1, -1) when there is none."""
    mass, reference, buffer = state.floats[MASS], state.floats[REFERENCE], state.scratch
    beta = inverse_temperature(state.sums)
    while True:
        p = draw_row(state)
        if p < 0:
            return -1, -1
        old_mass = mass[p]
        old_reference = reference[p]
        weigh_row(state, p, row_of(state, p))
        share = mass[p] / old_mass * finite_exp(beta * (old_reference - reference[p]))
        if uniform(state.random) >= share:
            continue
        wanted = uniform(state.random) * mass[p]
        last = np.int64(-1)
        for x in range(state.at[K_ALIVE]):
            if buffer[x] > 0:
                last = state.ints[ALIVE, x]
                wanted -= buffer[x]
                if wanted < 0:
                    break
        if last >= 0:
            return p, last


@kernel()
def drop_weights(state, gone, row):
    """Before a merge: take the pairs with the group `gone` out of every other row's bound."""
    mass, reference = state.floats[MASS], state.floats[REFERENCE]
    beta = inverse_temperature(state.sums)
    log_k = math.log2(state.at[K_ALIVE] - 1)
    need_active = state.at[NEED_ACTIVE] == 1
    for x in range(state.at[K_ALIVE]):
        p = state.ints[ALIVE, x]
        count = row[p]
        if p == gone or (need_active and count == 0):
            continue
        exponent = beta * (reference[p] - pair_cost(state, p, gone, count, log_k))
        if abs(exponent) < 0.5:  # exp(z) is never below this polynomial, and a bound may keep what is too much
            weight = 1.0 + exponent * (1.0 + exponent * (0.5 + exponent / 6.0))
        else:
            weight = finite_exp(exponent)
        mass[p] = max(mass[p] - weight, 0.0) + ROUNDING_GUARD * mass[p]


@kernel()
def add_weights(state, i, row):
    """After a merge: put the pairs with the merged group i into every other row's bound, and make its own exact."""
    mass, reference = state.floats[MASS], state.floats[REFERENCE]
    beta = inverse_temperature(state.sums)
    log_k = math.log2(max(state.at[K_ALIVE] - 1, 1))
    need_active = state.at[NEED_ACTIVE] == 1
    for x in range(state.at[K_ALIVE]):
        p = state.ints[ALIVE, x]
        count = row[p]
        if p == i or (need_active and count == 0):
            continue
        value = pair_cost(state, p, i, count, log_k)
        exponent = beta * (reference[p] - value)
        if exponent < FAR and mass[p] > 0:
            mass[p] += math.exp(exponent)
        else:  # so much cheaper than the rest that the row is measured from it
            mass[p] = 1.0 + mass[p] * finite_exp(-exponent)
            reference[p] = value
            state.floats[SCALE, p] = finite_exp(beta * (state.sums[MASS_REF] - value))
    weigh_row(state, i, row)
