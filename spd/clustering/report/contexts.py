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
from spd.clustering.report.samples import ByComponent, Firing, Samples

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
    around = _around(samples, firing, np.array([place for place, _ in places], np.int64))
    return [
        _context(samples, firing, members, place, band) | window
        for (place, band), window in zip(places, around, strict=True)
    ]


def member_places(
    samples: Samples, columns: ByComponent, component: int, fired: np.ndarray, n: int
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
    if samples.features is not None:
        row = samples.features[sample]
        found["features"] = [
            [int(at), _short(row[at])] for at in np.argsort(-np.abs(row), kind="stable")[:8] if row[at]
        ]
    return found


def _around(samples: Samples, firing: Firing, places: np.ndarray) -> list[dict[str, Any]]:
    """For each place `from`, the first sample shown around it, and `around`, the strengths from there on."""
    if samples.tokens is None or not len(places):
        return [{} for _ in places]
    length = samples.tokens.shape[1]
    sample = firing.rows[places].astype(np.int64)
    first = np.maximum(sample - BEFORE, sample - sample % length)
    n_shown = np.minimum(sample + AFTER, sample - sample % length + length - 1) - first + 1
    window = first[:, None] + np.arange(BEFORE + 1 + AFTER)
    at = np.minimum(np.searchsorted(firing.rows, window), len(firing.rows) - 1)
    strength = np.where(firing.rows[at] == window, firing.strength[at], 0.0).round(3)
    return [
        {"from": start, "around": [value or 0 for value in row[:n]]}
        for start, row, n in zip(first.tolist(), strength.tolist(), n_shown.tolist(), strict=True)
    ]


def _short(value: float) -> float:
    """Three digits after the point suffice for a shade; an integer where it is one, which is shorter."""
    rounded = round(float(value), 3)
    return int(rounded) if rounded == int(rounded) else rounded
