"""The `mcmc` sampler: probability proportional to exp(-beta G), beta = 1 / (N temperature).

For each live p, mass[p] exp(-beta reference[p]) is an upper bound of its sum of weights exp(-beta G(p, .)): every G
grows as k falls, so a sum made earlier is one, and what a merge takes away is subtracted at its present weight, which
is no more than it was. A draw:

1. draw a row p by these bounds;
2. bound its weights once more, each by little more than it is, and accept the row with probability new / old bound;
   if not, draw again;
3. draw a partner by the new bounds, and accept it with probability weight / bound, which is nearly 1.

Each unordered pair can be reached from both of its rows, with the same weight. Bounds are kept relative to a
reference near the row's own minimum and row weights relative to a reference of all rows, so nothing overflows, and
what underflows is below 1e-200 of the whole.
"""

import math

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel
from spd.clustering.merge_engine.kernels.bounds import fill_costs, pair_cost, row_of
from spd.clustering.merge_engine.kernels.random import uniform
from spd.clustering.merge_engine.kernels.state import (
    ALIVE,
    K_ALIVE,
    MASS,
    MASS_REF,
    N_SAMPLES,
    PARAMETER,
    REFERENCE,
    SCALE,
)

# Far above the rounding of a subtraction (1e-16 of the greatest term), far below what would cost a draw.
ROUNDING_GUARD = 1e-12
FAST = 32.0  # exponents below it in size are those for which a quick bound does
ROUND_UP = 1 + 4e-6  # more than what the terms of the series leave out
GUARD = 1.001  # quick bounds of the same weight from different references differ by less
MOST = 600.0  # exponents above it are cut off
FAR = 60.0  # in units of 1 / beta: how much cheaper than its reference a row's pair may be


@helper()
def inverse_temperature(sums):
    """beta, for costs that are not yet divided by the number of samples."""
    return 1.0 / (sums[N_SAMPLES] * sums[PARAMETER])


@helper()
def finite_exp(exponent):
    """exp, but never infinite: what is cut off only asks for a new reference."""
    return math.exp(min(exponent, MOST))


@kernel(inline="always")
def to_the_64th(y):
    """y^64, by squaring."""
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    return y * y


@helper(inline="always")
def weight_below(z):
    """At most exp(z), and at least 0.997 of it, for z from -FAST to FAST: exp(z / 64) by the terms of its series
    up to an odd power, which is never above it, multiplied by itself. Many at a time, unlike the real one."""
    y = z / 64.0
    y = 1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y / 120))))
    return to_the_64th(y)


@helper(inline="always")
def weight_above(z):
    """At least exp(z), and at most 1.0005 of it, for z from -FAST to FAST."""
    y = z / 64.0
    y = (1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y / 720)))))) * ROUND_UP
    return to_the_64th(y)


@helper()
def bound_row(state, p):
    """Make the bound of p good, from its costs in the buffer, which are replaced by bounds of the weights.

    Returns:
        The sum of these: at most 1.0005 of what it bounds (and 1e-13 for each pair), and never above the row's
        bound as it is kept between merges.
    """
    floats, costs, alive = state.floats, state.scratch, state.ints[ALIVE]
    beta = inverse_temperature(state.sums)
    least = np.inf
    for x in range(state.at[K_ALIVE]):
        least = min(least, costs[np.uint64(alive[x])])
    for q in range(len(costs)):
        z = beta * (least - costs[q])
        weight = weight_above(max(z, -FAST))
        costs[q] = weight if z > -np.inf else 0.0
    mass = 0.0
    if least < np.inf:
        for x in range(state.at[K_ALIVE]):
            mass += costs[np.uint64(alive[x])]
    floats[MASS, p] = mass * GUARD
    floats[REFERENCE, p] = least if mass > 0 else 0.0
    floats[SCALE, p] = finite_exp(beta * (state.sums[MASS_REF] - floats[REFERENCE, p]))
    return mass


@kernel(nogil=True)
def start_weights(state, first, last):
    """Make the bounds of the groups at positions first .. last - 1 good, before the first merge."""
    log_k = math.log2(max(state.at[K_ALIVE] - 1, 1))
    for x in range(first, last):
        p = state.ints[ALIVE, x]
        fill_costs(state, p, row_of(state, p), log_k)
        bound_row(state, p)


@helper()
def total_mass(state):
    """Sum of the row weights."""
    alive, mass, scale = state.ints[ALIVE], state.floats[MASS], state.floats[SCALE]
    total = 0.0
    for x in range(state.at[K_ALIVE]):
        total += mass[alive[x]] * scale[alive[x]]
    return total


@helper()
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


@helper()
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


@helper()
def draw_by_weight(state):
    """The containers of a pair, (-1, -1) when there is none."""
    mass, reference, weights = state.floats[MASS], state.floats[REFERENCE], state.scratch
    alive = state.ints[ALIVE]
    beta = inverse_temperature(state.sums)
    log_k = math.log2(state.at[K_ALIVE] - 1)
    while True:
        p = draw_row(state)
        if p < 0:
            return -1, -1
        old_mass = mass[p]
        old_reference = reference[p]
        row = row_of(state, p)
        fill_costs(state, p, row, log_k)
        total = bound_row(state, p)
        share = total / old_mass * finite_exp(beta * (old_reference - reference[p]))
        if uniform(state.random) >= share:
            continue
        wanted = uniform(state.random) * total
        last = np.int64(-1)
        for x in range(state.at[K_ALIVE]):
            weight = weights[np.uint64(alive[x])]
            if weight > 0:
                last = alive[x]
                wanted -= weight
                if wanted < 0:
                    break
        if last >= 0:
            exact = math.exp(beta * (reference[p] - pair_cost(state, p, last, row[last], log_k)))
            if uniform(state.random) * weights[last] < exact:
                return p, last


@helper()
def drop_weights(state, gone, row):
    """Before a merge: take the pairs with the group `gone` out of every other row's bound."""
    mass, reference, costs = state.floats[MASS], state.floats[REFERENCE], state.scratch
    beta = inverse_temperature(state.sums)
    fill_costs(state, gone, row, math.log2(state.at[K_ALIVE] - 1))
    for p in range(len(mass)):  # dead ones too: nobody asks for their bounds
        z = beta * (reference[p] - costs[p])
        costs[p] = z
        if z > FAST:
            mass[p] = max(mass[p] - finite_exp(z), 0.0) + ROUNDING_GUARD * mass[p]
            costs[p] = -np.inf
    for p in range(len(mass)):
        weight = weight_below(max(costs[p], -FAST))
        weight = weight if costs[p] >= -FAST else 0.0
        mass[p] = max(mass[p] - weight, 0.0) + ROUNDING_GUARD * mass[p]


@helper()
def add_weights(state, i, row):
    """After a merge: put the pairs with the merged group i into every other row's bound, and make its own good."""
    mass, reference, costs = state.floats[MASS], state.floats[REFERENCE], state.scratch
    beta = inverse_temperature(state.sums)
    fill_costs(state, i, row, math.log2(max(state.at[K_ALIVE] - 1, 1)))
    for p in range(len(mass)):
        z = beta * (reference[p] - costs[p])
        weight = weight_above(min(max(z, -FAST), FAST))
        mass[p] += GUARD * weight if -np.inf < z <= FAST and mass[p] > 0 else 0.0
    for p in range(len(mass)):
        z = beta * (reference[p] - costs[p])
        if z > FAST or (mass[p] <= 0 and z > -np.inf):
            if z < FAR and mass[p] > 0:
                mass[p] += GUARD * finite_exp(z)
            else:  # so much cheaper than the rest that the row is measured from it
                mass[p] = GUARD + mass[p] * finite_exp(-z)
                reference[p] = costs[p]
                state.floats[SCALE, p] = finite_exp(beta * (state.sums[MASS_REF] - costs[p]))
    bound_row(state, i)
