"""The groups of a clustering run with the inputs on which they are most active.

1. Read the run's groups at an iteration, and its model.
2. Run the model on some of its data. A group's strength on a sample is the mean importance of its components there, and
   it is active where any of them is above the run's activation threshold.
3. For a language model: the tokens that make up most of the group's strength, and the texts around its strongest
   places. For a toy model: the features that are present when the group is active.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.labels import module_of
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.model_inputs import (
    Decoder,
    SPDRunInfo,
    Strengths,
    is_language_model,
    measure_strengths,
    tokens_to_text,
)
from spd.clustering.storage import RunPaths
from spd.errors import ConfigError, MissingFileError

_SOFT_THRESHOLD = 0.01
_WORDS_BEFORE, _WORDS_AFTER = 10, 3
"""Tokens of context shown before and after a place."""


@dataclass(frozen=True)
class ShownGroup:
    """One group and what it is active on.

    Attributes:
        modules: number of its components by module.
        active_share: share of the samples (tokens) on which it is active.
        inputs: its tokens, each with its share of the group's strength; or features, each with the share of the group's
            active samples on which it is present.
        contexts: texts around its strongest places, the token in brackets; empty for toy models.
    """

    cluster: int
    n_components: int
    modules: dict[str, int]
    active_share: float
    inputs: dict[str, float]
    contexts: list[str]


def read_groups(directory: Path, iteration: str) -> dict[int, list[str]]:
    """Labels of each group of a clustering run, at an iteration or at `best`.

    Raises:
        SPDError: the run has no history, or no such iteration.
    """
    path = RunPaths.at(directory).history
    if not path.is_file():
        raise MissingFileError(f"{directory}: holds no {path.name}: expected the directory of a clustering run")
    return history_groups(MergeHistory.read(path), iteration)


def history_groups(history: MergeHistory, iteration: str) -> dict[int, list[str]]:
    """Labels of each group of a history, at an iteration or at `best`.

    Raises:
        ConfigError: there is no such iteration.
    """
    try:
        number = history.best_iteration if iteration == "best" else int(iteration)
    except ValueError as error:
        raise ConfigError(f"--iteration: expected 'best' or a number: {error}") from error
    if number is None:  # no merge pays: every component is a group
        return {index: [label] for index, label in enumerate(history.labels)}
    if not -len(history) <= number < len(history):
        raise ConfigError(f"--iteration: the run has iterations 0 to {len(history) - 1}, got {number}")
    partition = history.merges.at([number])[0]
    groups: dict[int, list[str]] = {int(group): [] for group in np.unique(partition)}
    for label, group in zip(history.labels, partition.tolist(), strict=True):
        groups[group].append(label)
    return groups


def describe_tokens(
    strengths: Strengths, group: int, decode: Decoder, n_shown: int
) -> tuple[dict[str, float], list[str]]:
    """(tokens with their share of the group's strength, contexts of its strongest places, no text twice)."""
    tokens, strength = strengths.inputs.reshape(-1), strengths.values[:, group]
    by_token = np.bincount(tokens, weights=strength)
    best = np.argsort(-by_token, kind="stable")[:n_shown]
    total = strength.sum() or 1.0
    shares = {decode([int(token)]): float(by_token[token] / total) for token in best if by_token[token] > 0}
    length = strengths.inputs.shape[1]
    contexts: dict[str, None] = {}
    for place in np.argsort(-strength, kind="stable")[: 20 * n_shown]:
        if len(contexts) == n_shown or strength[place] <= 0:
            break
        row, column = strengths.inputs[place // length], int(place % length)
        before = decode(row[max(0, column - _WORDS_BEFORE) : column].tolist())
        after = decode(row[column + 1 : column + 1 + _WORDS_AFTER].tolist())
        contexts[f"{before}[{decode([int(row[column])])}]{after}".replace("\n", " ")] = None
    return shares, list(contexts)


def describe_features(strengths: Strengths, group: int, n_shown: int) -> dict[str, float]:
    """Share of the group's active samples on which each feature is present, most common first."""
    active = strengths.inputs[strengths.is_active[:, group]]
    if not len(active):
        return {}
    present = (active != 0).mean(axis=0)
    return {f"feature {index}": float(present[index]) for index in np.argsort(-present, kind="stable")[:n_shown]}


@dataclass(frozen=True)
class Selection:
    """Which groups to show, and how much of each.

    Attributes:
        sort: `activity`, the sum of the importances of a group's components; or `size`, their number.
        n_groups: at most so many.
        min_size: groups of fewer components are left out.
        n_shown: tokens and contexts of each group.
        items: sequences (or feature vectors, a hundred times as many) that the model is run on.
    """

    sort: str = "activity"
    n_groups: int = 20
    min_size: int = 2
    n_shown: int = 6
    items: int = 256


def describe_groups(
    directory: Path,
    iteration: str = "best",
    selection: Selection = Selection(),
) -> list[ShownGroup]:
    """The groups that do most, or the largest, and what they are active on.

    Args:
        directory: of a clustering run.
        iteration: a number, or `best`.

    Raises:
        SPDError: the run, its model or its data cannot be used.
    """
    config = ClusteringRunConfig.from_file(RunPaths.at(directory).config)
    if config.model_path is None:
        raise ConfigError(f"{directory}: clusters a matrix of activations: there is no model to show its inputs")
    groups = read_groups(directory, iteration)
    found = {cluster: labels for cluster, labels in groups.items() if len(labels) >= selection.min_size}
    clusters = sorted(found, key=lambda cluster: (-len(found[cluster]), cluster))
    if selection.sort == "size":
        clusters = clusters[: selection.n_groups]
    info = SPDRunInfo.from_path(config.model_path)
    is_language = is_language_model(info)
    threshold = config.merge_config.activation_threshold
    strengths = measure_strengths(
        info,
        [found[cluster] for cluster in clusters],
        selection.items if is_language else 100 * selection.items,
        config.dataset_seed,
        _SOFT_THRESHOLD if threshold is None else threshold,
    )
    decode = tokens_to_text(info) if is_language else None
    order = np.arange(len(clusters))
    if selection.sort == "activity":
        sizes = np.array([len(found[cluster]) for cluster in clusters])
        order = np.argsort(-strengths.values.sum(axis=0) * sizes, kind="stable")
    return [
        _describe(strengths, int(index), clusters[index], found[clusters[index]], decode, selection.n_shown)
        for index in order[: selection.n_groups]
    ]


def _describe(
    strengths: Strengths, index: int, cluster: int, labels: list[str], decode: Decoder | None, n_shown: int
) -> ShownGroup:
    contexts: list[str] = []
    if decode is None:
        inputs = describe_features(strengths, index, n_shown)
    else:
        inputs, contexts = describe_tokens(strengths, index, decode, n_shown)
    return ShownGroup(
        cluster=cluster,
        n_components=len(labels),
        modules=dict(Counter(module_of(label) for label in labels)),
        active_share=float(strengths.is_active[:, index].mean()),
        inputs=inputs,
        contexts=contexts,
    )


def render(group: ShownGroup) -> str:
    """A group as a few lines of text."""
    modules = ", ".join(f"{module} {count}" for module, count in group.modules.items())
    inputs = "  ".join(f"{name!r} {share:.0%}" for name, share in group.inputs.items())
    lines = [
        f"group {group.cluster}: {group.n_components} components, active on {group.active_share:.2%} of the samples",
        f"    in   {modules}",
        f"    on   {inputs or 'nothing in these samples'}",
    ]
    return "\n".join(lines + [f"         {context}" for context in group.contexts])
