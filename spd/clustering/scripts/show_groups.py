"""Print the groups of a clustering run with the inputs on which they are most active.

    python -m spd.clustering.scripts.show_groups DIR [--iteration best] [--groups 20]

1. Read the run's groups at an iteration, and its model.
2. Run the model on some of its data. A group's strength on a sample is the mean importance of its components there, and
   it is active where any of them is above the run's activation threshold.
3. For a language model: the tokens that make up most of the group's strength, and the texts around its strongest
   places. For a toy model: the features that are present when the group is active.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.scripts._command import make_parser, run_command
from spd.errors import ConfigError, MissingFileError
from spd.files.atomic import atomic_write

if TYPE_CHECKING:
    from spd.models.run_info import SPDRunInfo

CONFIG_FILE, HISTORY_FILE = "clustering_run_config.json", "history.zip"
_SOFT_THRESHOLD = 0.01
_WORDS_BEFORE, _WORDS_AFTER = 10, 3
"""Tokens of context shown before and after a place."""


@dataclass(frozen=True)
class ShownGroup:
    """One group and what it is active on."""

    cluster: int
    n_components: int
    modules: dict[str, int]
    """Number of its components by module."""
    active_share: float
    """Share of the samples (tokens) on which it is active."""
    inputs: dict[str, float]
    """Its tokens, each with its share of the group's strength; or features, each with the share of the group's active
    samples on which it is present."""
    contexts: list[str]
    """Texts around its strongest places, the token in brackets; empty for toy models."""


@dataclass(frozen=True)
class Strengths:
    """How strong each group is on each sample.

    Attributes:
        values: (n_samples, n_groups) mean importance of the group's components.
        is_active: (n_samples, n_groups).
        inputs: (n_samples, n_features) of a toy model, or (n_sequences, seq) tokens.
    """

    values: np.ndarray
    is_active: np.ndarray
    inputs: np.ndarray


def groups_at(directory: Path, iteration: str) -> dict[int, list[str]]:
    """Labels of each group of a clustering run, at an iteration or at `best`.

    Raises:
        SPDError: the run has no history, or no such iteration.
    """
    from spd.clustering.merge_history import MergeHistory

    path = directory / HISTORY_FILE
    if not path.is_file():
        raise MissingFileError(f"{directory}: holds no {HISTORY_FILE}: expected the directory of a clustering run")
    history = MergeHistory.read(path)
    try:
        number = history.best_iteration if iteration == "best" else int(iteration)
    except ValueError as error:
        raise ConfigError(f"--iteration: expected 'best' or a number: {error}") from error
    if number is None:  # no merge pays: every component is a group
        return {index: [label] for index, label in enumerate(history.labels)}
    if not -len(history) <= number < len(history):
        raise ConfigError(f"--iteration: the run has iterations 0 to {len(history) - 1}, got {number}")
    return {
        cluster: history.get_cluster_component_labels(number, cluster)
        for cluster in history.get_unique_clusters(number)
    }


def measure_strengths(
    info: "SPDRunInfo", groups: list[list[str]], batch_size: int, seed: int, threshold: float
) -> Strengths:
    """Run the model on `batch_size` items of its data.

    Raises:
        SPDError: the model or its data cannot be used, or a label names no component of it.
    """
    import torch

    from spd.clustering.activations import component_activations
    from spd.data import iter_batches
    from spd.models.component_model import ComponentModel

    model = ComponentModel.from_run_info(info)
    members = [_by_module(labels, model.module_to_c) for labels in groups]
    values, is_active, inputs = [], [], []
    for batch in iter_batches(info, batch_size, seed):
        importances = {
            module: found.flatten(0, -2) for module, found in component_activations(model, "cpu", batch).items()
        }
        n_samples = next(iter(importances.values())).shape[0]
        total, highest = torch.zeros(n_samples, len(groups)), torch.zeros(n_samples, len(groups))
        for group, indices in enumerate(members):
            for module, columns in indices.items():
                found = importances[module][:, columns]
                total[:, group] += found.sum(1)
                highest[:, group] = torch.maximum(highest[:, group], found.amax(1))
        values.append((total / torch.tensor([len(labels) for labels in groups])).numpy())
        is_active.append((highest > threshold).numpy())
        inputs.append(batch.numpy())
    return Strengths(np.concatenate(values), np.concatenate(is_active), np.concatenate(inputs))


def describe_tokens(strengths: Strengths, group: int, decode: Any, n_shown: int) -> tuple[dict[str, float], list[str]]:
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


def describe_groups(
    directory: Path,
    *,
    iteration: str = "best",
    sort: str = "activity",
    n_groups: int = 20,
    min_size: int = 2,
    n_shown: int = 6,
    items: int = 256,
) -> list[ShownGroup]:
    """The groups that do most, or the largest, and what they are active on.

    Args:
        directory: of a clustering run.
        sort: `activity`, the sum of the importances of a group's components; or `size`, their number.
        min_size: smaller groups are left out.
        n_shown: tokens and contexts of each group.
        items: sequences (or feature vectors, a hundred times as many) that the model is run on.

    Raises:
        SPDError: the run, its model or its data cannot be used.
    """
    from spd.models.run_info import SPDRunInfo

    config = ClusteringRunConfig.from_file(directory / CONFIG_FILE)
    if config.model_path is None:
        raise ConfigError(f"{directory}: clusters a matrix of activations: there is no model to show its inputs")
    found = {cluster: labels for cluster, labels in groups_at(directory, iteration).items() if len(labels) >= min_size}
    clusters = sorted(found, key=lambda cluster: (-len(found[cluster]), cluster))
    if sort == "size":
        clusters = clusters[:n_groups]
    info = SPDRunInfo.from_path(config.model_path)
    is_language = info.config.task_config.task_name == "lm"
    threshold = config.merge_config.activation_threshold
    strengths = measure_strengths(
        info,
        [found[cluster] for cluster in clusters],
        items if is_language else 100 * items,
        config.dataset_seed,
        _SOFT_THRESHOLD if threshold is None else threshold,
    )
    decode = _decoder(info) if is_language else None
    order = np.arange(len(clusters))
    if sort == "activity":
        sizes = np.array([len(found[cluster]) for cluster in clusters])
        order = np.argsort(-strengths.values.sum(axis=0) * sizes, kind="stable")
    return [
        _describe(strengths, int(index), clusters[index], found[clusters[index]], decode, n_shown)
        for index in order[:n_groups]
    ]


def _describe(
    strengths: Strengths, index: int, cluster: int, labels: list[str], decode: Any, n_shown: int
) -> ShownGroup:
    contexts: list[str] = []
    if decode is None:
        inputs = describe_features(strengths, index, n_shown)
    else:
        inputs, contexts = describe_tokens(strengths, index, decode, n_shown)
    return ShownGroup(
        cluster=cluster,
        n_components=len(labels),
        modules=dict(Counter(label.rpartition(":")[0] for label in labels)),
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


def _by_module(labels: list[str], known: dict[str, int]) -> dict[str, list[int]]:
    indices: dict[str, list[int]] = {}
    for label in labels:
        module, _, index = label.rpartition(":")
        if module not in known or int(index) >= known[module]:
            raise ConfigError(f"component {label!r} is none of the model's: its modules are {', '.join(known)}")
        indices.setdefault(module, []).append(int(index))
    return indices


def _decoder(info: "SPDRunInfo") -> Any:
    from spd.data.corpus import load_tokenizer

    tokenizer = load_tokenizer(info)
    return lambda tokens: tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.show_groups")
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of a clustering run")
    parser.add_argument("--iteration", default="best", metavar="I|best", help="after which merge (default: best)")
    parser.add_argument("--groups", type=int, default=20, metavar="N", help="how many groups")
    parser.add_argument(
        "--sort",
        choices=("activity", "size"),
        default="activity",
        help="which groups come first: those whose components' importances sum to most, or the largest",
    )
    parser.add_argument("--min-size", type=int, default=2, metavar="N", help="leave out smaller groups")
    parser.add_argument("--shown", type=int, default=6, metavar="N", help="tokens and contexts of each group")
    parser.add_argument("--items", type=int, default=256, metavar="N", help="sequences that the model is run on")
    parser.add_argument("--output", type=Path, metavar="F", help="write JSON to this file, too")
    return parser


def _body(arguments: argparse.Namespace) -> None:
    shown = describe_groups(
        arguments.directory,
        iteration=arguments.iteration,
        sort=arguments.sort,
        n_groups=arguments.groups,
        min_size=arguments.min_size,
        n_shown=arguments.shown,
        items=arguments.items,
    )
    if not shown:
        print(f"no group has {arguments.min_size} components or more")
    for group in shown:
        print(render(group), end="\n\n")
    if arguments.output is not None:
        with atomic_write(arguments.output) as temporary:
            temporary.write_text(json.dumps([asdict(group) for group in shown], indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
