"""How readable the groups of a language model are: the entropy of the tokens on which they fire.

    python -m benchmarks.readability [example:lm_words] [--sequences 256] [--seed 0] [--shown 20]

1. Groups: find_groups on the memberships; of these the ones with two components or more.
2. A group fires on a token where its posterior probability of firing is at least one half.
3. Entropy, in bits, of the distribution of the tokens (the model's input there) over a group's firings, by the plug-in
   estimate. 0: one token only; h: as varied as 2^h equally frequent tokens.

A group that follows the context and not the token is not readable by this measure, whatever it does.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spd.clustering.activations import component_activations
from spd.clustering.groups import Groups, find_groups
from spd.clustering.groups.columns import as_boolean
from spd.clustering.memberships import Memberships
from spd.data import iter_batches
from spd.data.corpus import load_tokenizer
from spd.experiments.planted_rules import best_group_by_rule, ruled_tokens
from spd.models.component_model import ComponentModel
from spd.models.run_info import SPDRunInfo

MOST_ACTIVE = 50
"""How many groups the median is taken over."""

THRESHOLD = 0.01
"""Importance above which a component is active."""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="example:lm_words", help="a decomposed language model")
    parser.add_argument("--sequences", type=int, default=256, help="of the model's data, that the groups are found on")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--shown", type=int, default=20, help="how many groups to show")
    arguments = parser.parse_args()
    info = SPDRunInfo.from_path(arguments.model)
    model = ComponentModel.from_run_info(info)
    tokenizer: Any = load_tokenizer(info)
    batch = torch.cat(list(iter_batches(info, arguments.sequences, arguments.seed)))
    memberships = _memberships(model, batch)
    groups = find_groups(memberships, control=False)
    firings, tokens = group_firings(groups, memberships), batch.flatten().numpy()
    layers_and_parts = [spans(groups, group) for group in firings.groups]
    alive = int((memberships.counts > 0).sum())
    active = memberships.nnz / len(tokens)
    print(f"{memberships.n_samples:,} tokens, {alive} components ever active, {active:.1f} a token")
    print(f"{len(firings.groups)} groups of two or more, {firings.fires.sum(1).mean():.1f} firing on a token")
    n_layers, n_both = sum(n > 1 for n, _ in layers_and_parts), sum(both for _, both in layers_and_parts)
    print(f"spanning layers: {n_layers}; attention and MLP: {n_both}")
    print(
        f"median token entropy of the {MOST_ACTIVE} that fire most: {median_token_entropy(firings, tokens):.2f} bits"
        f" (of all tokens: {token_entropy(tokens):.2f})"
    )
    print("\n| group | size | fires on | bits | layers | attention and MLP | tokens |\n|---|---|---|---|---|---|---|")
    for place, group in enumerate(firings.groups[: arguments.shown]):
        here = tokens[firings.fires[:, place]]
        n_layers, both = layers_and_parts[place]
        print(
            f"| {group} | {groups.sizes[group]} | {len(here) / len(tokens):.1%} | {token_entropy(here):.1f} |"
            f" {n_layers} | {'yes' if both else 'no'} | {_commonest(here, tokenizer)} |"
        )
    _print_rules(model, tokenizer, groups, memberships.labels, batch.shape[1])


def _memberships(model: ComponentModel, batch: torch.Tensor) -> Memberships:
    """Importances above the threshold, one row a token."""
    importances = component_activations(model, "cpu", batch)
    labels = [f"{module}:{index}" for module, values in importances.items() for index in range(values.shape[-1])]
    active = torch.cat([values.flatten(0, -2) for values in importances.values()], dim=-1) > THRESHOLD
    return as_boolean(active.numpy(), labels)


def _commonest(tokens: np.ndarray, tokenizer: Any, n_shown: int = 5) -> str:
    words, counts = np.unique(tokens, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:n_shown]
    return " ".join(f"`{tokenizer.decode([words[at]])}` {counts[at] / len(tokens):.0%}" for at in order)


def _print_rules(model: ComponentModel, tokenizer: Any, groups: Groups, labels: list[str], length: int) -> None:
    """For each planted rule the group that tells its places best, on fresh documents."""
    ruled = ruled_tokens(tokenizer.backend_tokenizer, tokenizer.eos_token_id, 150, length, "groups")
    memberships = _memberships(model, ruled.tokens)
    assert memberships.labels == labels
    firings = group_firings(groups, memberships)
    best = best_group_by_rule(firings.fires, ruled.next_rule.flatten().numpy())
    print("\n| rule | group | size | fires at the rule's places | of its firings, there | layers | attention and MLP |")
    print("|---|---|---|---|---|---|---|")
    for rule, (place, found, exact) in best.items():
        group = firings.groups[place]
        n_layers, both = spans(groups, group)
        print(
            f"| {rule} | {group} | {groups.sizes[group]} | {found:.0%} | {exact:.0%} | {n_layers} |"
            f" {'yes' if both else 'no'} |"
        )


if __name__ == "__main__":
    main()
