"""Where a group is strongest, and places drawn from the bands of strength below.

- `top`: its strongest firing samples, ties by the earlier sample.
- Bands by the share of its greatest strength: above 1/2, 1/4 to 1/2, 1/8 to 1/4, below 1/8. From each, samples on which
  it fires, drawn without replacement; none that is in `top`.

A place is given with the strength of the group on the samples around it (language models: `BEFORE` tokens before and
`AFTER` after, within its sequence) and with the components active there.
"""

from typing import Any

import numpy as np

from spd.clustering.report.limits import Limits
from spd.clustering.report.samples import Columns, Firing, Samples

BEFORE, AFTER = 16, 16
N_BANDS = 4
_MAX_ACTIVE_SHOWN = 8


def strongest(rows: np.ndarray, strength: np.ndarray, n: int) -> np.ndarray:
    """Places (at most n) of the greatest strengths, ties by the smaller row; rows ascending."""
    if len(rows) > 4 * n > 0:
        floor = np.partition(strength, -n)[-n]
        candidates = np.flatnonzero(strength >= floor)
        return candidates[np.argsort(-strength[candidates], kind="stable")[:n]]
    return np.argsort(-strength, kind="stable")[:n]


def contexts_of(
    samples: Samples, firing: Firing, members: np.ndarray, limits: Limits, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The places of one group: `[{sample, band, strength, from, around, active}]`; band 0 is `top`.

    Args:
        members: the group's components.
    """
    fired = np.flatnonzero(firing.fires)
    top = fired[strongest(firing.rows[fired], firing.strength[fired], limits.n_top)]
    places = [(int(place), 0) for place in top]
    if len(top) and len(fired) > len(top):
        left = np.setdiff1d(fired, top, assume_unique=True)
        share = firing.strength[left] / firing.strength[top[0]]
        band = np.clip(np.ceil(-np.log2(np.maximum(share, 1e-9))), 1, N_BANDS).astype(int)
        for number in range(1, N_BANDS + 1):
            inside = left[band == number]
            drawn = rng.permutation(len(inside))[: limits.n_per_band]
            chosen = inside[drawn]
            places += [(int(place), number) for place in chosen[np.argsort(-firing.strength[chosen], kind="stable")]]
    return [_context(samples, firing, members, place, band) for place, band in places]


def member_places(
    samples: Samples, columns: Columns, component: int, fired: np.ndarray, n: int
) -> dict[str, list[list[float]]]:
    """`strongest`: a component's own strongest samples; `while_firing`: those while its group fires. [sample, value]"""
    rows, values = columns.entries(component)
    active = values > columns.threshold
    rows, values = rows[active], values[active]
    inside = np.isin(rows, fired, assume_unique=True)
    return {
        name: [[int(part[at]), _short(value[at])] for at in strongest(part, value, n)]
        for name, part, value in (("strongest", rows, values), ("while_firing", rows[inside], values[inside]))
    }


def _context(samples: Samples, firing: Firing, members: np.ndarray, place: int, band: int) -> dict[str, Any]:
    sample = int(firing.rows[place])
    entries = slice(firing.starts[place], firing.starts[place + 1])
    value, component = firing.value[entries], firing.component[entries]
    order = np.argsort(-value, kind="stable")
    order = order[firing.active[entries][order]]
    found: dict[str, Any] = {
        "sample": sample,
        "band": band,
        "strength": _short(firing.strength[place]),
        "active": [[int(members[component[at]]), _short(value[at])] for at in order[:_MAX_ACTIVE_SHOWN]],
        "n_active": len(order),
    }
    if samples.tokens is not None:
        length = samples.tokens.shape[1]
        position = sample % length
        first = sample - min(BEFORE, position)
        last = sample + min(AFTER, length - 1 - position)
        low, high = np.searchsorted(firing.rows, [first, last + 1])
        around = np.zeros(last - first + 1)
        around[firing.rows[low:high] - first] = firing.strength[low:high]
        found |= {"from": first, "around": [_short(value) for value in around]}
    elif samples.features is not None:
        row = samples.features[sample]
        found["features"] = [
            [int(at), _short(row[at])] for at in np.argsort(-np.abs(row), kind="stable")[:8] if row[at]
        ]
    return found


def _short(value: float) -> float:
    """Three digits after the point suffice for a shade; an integer where it is one, which is shorter."""
    rounded = round(float(value), 3)
    return int(rounded) if rounded == int(rounded) else rounded
