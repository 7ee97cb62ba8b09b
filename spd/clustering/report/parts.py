"""What each stable part of a group does by itself: for a group whose parts are to be trusted, and not their union."""

from typing import Any

import numpy as np

from spd.clustering.report.contexts import strongest
from spd.clustering.report.limits import Limits
from spd.clustering.report.samples import Samples, firing_of
from spd.clustering.report.tokens import TokenCounts, feature_table

_ANY_WEIGHTS, _ANY_BIAS = 1.0, -0.5
"""A part fires where any of its components is active, as the groups of a consensus do."""
_N_TOKENS = 4


def stable_parts(parts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(stable group, places of its components), the largest first, ties by its number; none where the whole is one part.

    Args:
        parts: (m,) the stable group of each component of a group, -1 for none.
    """
    numbers, counts = np.unique(parts[parts >= 0], return_counts=True)
    if len(numbers) == 1 and counts[0] == len(parts):
        return []
    return [(int(numbers[at]), np.flatnonzero(parts == numbers[at])) for at in np.lexsort((numbers, -counts))]


def describe_parts(
    samples: Samples, members: np.ndarray, parts: np.ndarray, limits: Limits, tokens: TokenCounts | None
) -> list[dict[str, Any]]:
    """Keys part (number in stable_groups.json), size, firing_rate, n_firing, tokens (the first few), token_entropy
    (bits; null without tokens), max_strength, strongest ([[sample, strength]]).

    Args:
        members: the group's components; parts: as in stable_parts.
    """
    found = []
    for number, places in stable_parts(parts):
        components = members[places]
        firing = firing_of(samples.columns, components, np.full(len(components), _ANY_WEIGHTS), _ANY_BIAS)
        rows, strength = firing.fired, firing.strength[firing.fires]
        table: list[dict[str, Any]] = []
        entropy = None
        if tokens is not None:
            table, entropy = tokens.table(rows, strength)
        elif samples.features is not None:
            table = feature_table(samples.features, rows)
        found.append(
            {
                "part": number,
                "size": len(components),
                "firing_rate": float(f"{len(rows) / samples.n_samples:.6g}"),
                "n_firing": len(rows),
                "tokens": table[:_N_TOKENS],
                "token_entropy": entropy,
                "max_strength": float(f"{strength.max(initial=0):.6g}"),
                "strongest": [
                    [int(rows[at]), round(float(strength[at]), 3)] for at in strongest(rows, strength, limits.n_member)
                ],
            }
        )
    return found
