"""What each stable part of a group does by itself: for a group whose parts are to be trusted, and not their union."""

from typing import Any

import numpy as np

from spd.clustering.report.contexts import strongest
from spd.clustering.report.firing_code import any_rule, code_rule, thinning
from spd.clustering.report.grouping import POSTERIOR, Grouping
from spd.clustering.report.limits import Limits
from spd.clustering.report.samples import Samples, firing_of
from spd.clustering.report.tokens import TokenCounts, feature_table

_N_TOKENS = 4


def stable_parts(parts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(stable group, places of its components), the largest first, ties by number; none where the whole is one part.

    Args:
        parts: (m,) the stable group of each component of a group, -1 for none.
    """
    numbers, counts = np.unique(parts[parts >= 0], return_counts=True)
    if len(numbers) == 1 and counts[0] == len(parts):
        return []
    return [(int(numbers[at]), np.flatnonzero(parts == numbers[at])) for at in np.lexsort((numbers, -counts))]


def describe_parts(
    samples: Samples, grouping: Grouping, group: int, limits: Limits, tokens: TokenCounts | None
) -> list[dict[str, Any]]:
    """Keys part (number in stable_groups.json), size, firing_rate, n_firing, tokens (the first few), token_entropy
    (bits; null without tokens), max_strength, strongest ([[sample, strength]]).

    Args:
        grouping: a consensus; a part fires by the same rule as its groups, by its own code.
        group: its place.
    """
    assert grouping.parts is not None
    columns, members, found = samples.columns, grouping.members[group], []
    for number, places in stable_parts(grouping.parts[members]):
        components = members[places]
        if grouping.firing_rule == POSTERIOR:
            rule = code_rule(columns, components, samples.n_samples, thinning(samples))
        else:
            rule = any_rule(len(components))
        firing = firing_of(columns, components, *rule)
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
