"""How readable the groups of a language model are: the entropy of the tokens on which they fire.

1. Groups: find_groups on the memberships; of these the ones with two components or more.
2. A group fires on a token where its posterior probability of firing is at least one half.
3. Entropy, in bits, of the distribution of the tokens (the model's input there) over a group's firings, by the plug-in
   estimate. 0: one token only; h: as varied as 2^h equally frequent tokens.

A group that follows the context and not the token is not readable by this measure, whatever it does.
"""

from dataclasses import dataclass

import numpy as np

from spd.clustering.groups import Groups
from spd.clustering.memberships import Memberships

MOST_ACTIVE = 50
"""How many groups the median is taken over."""


@dataclass(frozen=True)
class GroupFirings:
    """Where the groups of two or more components fire, the group that fires most first.

    Attributes:
        groups: their numbers.
        fires: (n_tokens, groups) bool.
    """

    groups: list[int]
    fires: np.ndarray


def group_firings(groups: Groups, memberships: Memberships) -> GroupFirings:
    """Where each group of two or more components fires."""
    numbers = [group for group, size in enumerate(groups.sizes) if size > 1]
    fires = np.zeros((memberships.n_samples, len(numbers)), bool)
    for place, group in enumerate(numbers):
        fires[:, place] = groups.firing(group, memberships) >= 0.5
    order = np.argsort(-fires.sum(0), kind="stable")
    return GroupFirings([numbers[place] for place in order], fires[:, order])


def token_entropy(tokens: np.ndarray) -> float:
    """Bits of the tokens' distribution; 0 of none."""
    counts = np.unique(tokens, return_counts=True)[1]
    shares = counts / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())


def median_token_entropy(firings: GroupFirings, tokens: np.ndarray, n_groups: int = MOST_ACTIVE) -> float:
    """Median over the groups that fire most of the entropy of the tokens on which they fire.

    Args:
        tokens: (n_tokens,) the input at each sample of the memberships.
    """
    return float(np.median([token_entropy(tokens[fires]) for fires in firings.fires.T[:n_groups]]))


def spans(groups: Groups, group: int) -> tuple[int, bool]:
    """(number of layers, whether attention and MLP) that a group's components lie in."""
    modules = [groups.labels[component].rpartition(":")[0] for component in groups.members(group)]
    layers = {part for module in modules for part in module.split(".") if part.isdigit()}
    return len(layers), any(".attn." in module for module in modules) and any(".mlp." in module for module in modules)
