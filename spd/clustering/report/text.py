"""The groups of a report as a few lines of text each: what show_groups prints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.directory import open_directory
from spd.clustering.report.firing_code import fitted
from spd.clustering.report.grouping import from_history
from spd.clustering.report.make import ReportOptions, model_samples
from spd.clustering.report.model_data import model_data
from spd.errors import ConfigError, SPDError
from spd.text import printable

_BEFORE, _AFTER = 10, 3
"""Tokens of context shown before and after a place."""


@dataclass(frozen=True)
class ShownGroup:
    """One group and what it fires on.

    Attributes:
        modules: number of its components by module.
        active_share: share of the samples (tokens) on which it fires.
        inputs: its tokens, each with its share of the group's strength; or features, each with the share of the group's
            firing samples on which it is present.
        contexts: texts around its strongest places, the token in brackets; empty for toy models.
    """

    cluster: int
    n_components: int
    modules: dict[str, int]
    active_share: float
    inputs: dict[str, float]
    contexts: list[str]


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
    directory: Path, iteration: str | None = None, selection: Selection = Selection()
) -> list[ShownGroup]:
    """The groups that do most, or the largest, and what they fire on.

    Args:
        directory: of an ensemble or a clustering run.
        iteration: of a run: a number, or `best`; None: the groups of its report.

    Raises:
        SPDError: the directory, its model or its data cannot be used.
    """
    opened = open_directory(directory)
    data = None if opened.config is None else model_data(opened.config)
    if data is None:
        raise ConfigError(f"{directory}: clusters a matrix of activations: there is no model to show its inputs")
    if iteration is not None:
        if opened.history is None or opened.kind != "run":
            raise ConfigError(f"--iteration: {directory} is an ensemble; give the directory of a run")
        n_merges = _n_merges(opened.history, iteration)
        opened = replace(opened, grouping=from_history(opened.history, n_merges, f"iteration {iteration}"))
    from spd.clustering.report.model_inputs import samples_of_items

    n_samples = samples_of_items(data.path, selection.items)
    samples, _ = model_samples(opened, data, ReportOptions(n_samples=n_samples))
    content = build_content(fitted(opened.grouping, samples), samples, Subject(model={}, settings=opened.settings))
    return shown_groups(content, selection)


def _n_merges(history: MergeHistory, iteration: str) -> int:
    try:
        where = iteration if iteration == "best" else int(iteration)
    except ValueError as error:
        raise ConfigError(f"--iteration: expected 'best' or a number: {error}") from error
    try:
        return history.n_merges_at(where)
    except SPDError as error:
        raise ConfigError(f"--iteration: {error}") from error


def shown_groups(content: Mapping[str, Any], selection: Selection) -> list[ShownGroup]:
    """A selection of the groups of a report's content."""
    groups = [group for group in content["groups"] if group["size"] >= selection.min_size]
    if selection.sort == "activity":
        groups.sort(key=lambda group: -group["activity"])
    return [_shown(content, group, selection.n_shown) for group in groups[: selection.n_groups]]


def _shown(content: Mapping[str, Any], group: Mapping[str, Any], n_shown: int) -> ShownGroup:
    texts = content["token_texts"]
    is_language = content["data"]["kind"] == "language"
    tokens = group.get("tokens", [])[:n_shown]
    return ShownGroup(
        cluster=group["id"],
        n_components=group["size"],
        modules=group["modules"],
        active_share=group["firing_rate"],
        inputs={
            texts.get(str(token["id"]), f"#{token['id']}") if is_language else f"feature {token['id']}": token.get(
                "weight", token["share"]
            )
            for token in tokens
        },
        contexts=_contexts(content, group, n_shown) if is_language else [],
    )


def _contexts(content: Mapping[str, Any], group: Mapping[str, Any], n_shown: int) -> list[str]:
    """Texts around its strongest places, no text twice."""
    length = content["data"]["sequence_length"]
    found: dict[str, None] = {}
    for context in group["contexts"]:
        if context["band"] == 0 and len(found) < n_shown:
            row = content["data"]["tokens"][context["sample"] // length]
            at = context["sample"] % length
            before, token, after = (
                "".join(content["token_texts"].get(str(identifier), f"#{identifier}") for identifier in part)
                for part in (row[max(0, at - _BEFORE) : at], row[at : at + 1], row[at + 1 : at + 1 + _AFTER])
            )
            found[printable(f"{before}[{token}]{after}".replace("\n", " "))] = None
    return list(found)


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
