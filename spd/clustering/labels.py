"""Names of components, which of them a config means, and what importances may be; errors name the component."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from spd.clustering.consts import ComponentLabels
from spd.errors import ActivationsError

_LABEL = re.compile(r"(.+):(\d+)", re.DOTALL)


def is_label(text: str) -> bool:
    """Whether it is of the form `<module>:<index>`."""
    return _LABEL.fullmatch(text) is not None


def split_label(label: str) -> tuple[str, int]:
    """Module and index of a component.

    Raises:
        ActivationsError: the label is not `<module>:<index>`.
    """
    found = _LABEL.fullmatch(label)
    if found is None:
        raise ActivationsError(f"a component's label is <module>:<index>, got {label!r}")
    return found[1], int(found[2])


def module_of(label: str) -> str:
    """The module of a component; all of a label that is not `<module>:<index>`.

    Users' own labels may be of any form where nothing depends on it.
    """
    found = _LABEL.fullmatch(label)
    return found[1] if found else label


def component_labels(widths: Mapping[str, int]) -> ComponentLabels:
    """`"<module>:<index>"` for every component of modules of these widths, in their order."""
    return [f"{module}:{index}" for module, width in widths.items() for index in range(width)]


def matching_modules(modules: Iterable[str], module_name_filter: str | Iterable[str] | None) -> list[str]:
    """The modules that a filter keeps: a string is a prefix, anything else a set of exact names, None keeps all.

    Raises:
        ActivationsError: it keeps none, or one of the exact names does not exist.
    """
    modules = list(modules)
    if module_name_filter is None:
        return modules
    if isinstance(module_name_filter, str):
        chosen = [module for module in modules if module.startswith(module_name_filter)]
        unknown = [] if chosen else [module_name_filter]
    else:
        names = set(module_name_filter)
        chosen = [module for module in modules if module in names]
        unknown = sorted(names - set(modules))
    if unknown or not chosen:
        raise ActivationsError(
            f"module_name_filter {module_name_filter!r} matches no module for {unknown}, the modules are {modules}"
        )
    return chosen


def live_components(statistic: np.ndarray, filter_dead_threshold: float) -> Bool[np.ndarray, "n_components"]:
    """Which components are not dead: their statistic is at least the threshold; <= 0 keeps all."""
    if filter_dead_threshold <= 0:
        return np.ones(len(statistic), bool)
    return ~(statistic < filter_dead_threshold)


def check_some_alive(n_alive: int, statistic: np.ndarray, filter_dead_threshold: float, name: str) -> None:
    """Refuse components that are all dead.

    Args:
        n_alive: how many are not.
        statistic: (n_components,), see live_components.
        name: of the statistic.

    Raises:
        ActivationsError: none is alive.
    """
    if not n_alive:
        maximum = f", the greatest is {statistic.max():.3g}" if len(statistic) else ""
        raise ActivationsError(
            f"no component is alive: the {name} importance of all {len(statistic)} components is below "
            f"filter_dead_threshold = {filter_dead_threshold:g}{maximum}; lower the threshold or take more samples"
        )


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels as a list.

    Raises:
        ActivationsError: one is given twice.
    """
    labels = [str(label) for label in labels]
    if len(set(labels)) != len(labels):
        seen: set[str] = set()
        twice = next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ActivationsError(f"component labels must be unique, {twice!r} is given twice")
    return labels


def check_values(minimum: np.ndarray, maximum: np.ndarray, labels: Sequence[str]) -> None:
    """Refuse importances that are not finite or negative, given the extremes (n_components,) of each component.

    Raises:
        ActivationsError: naming the module and the component.
    """
    wrong = np.flatnonzero(~(np.isfinite(maximum) & (minimum >= 0)))
    if wrong.size:
        label = labels[wrong[0]]
        value = minimum[wrong[0]] if np.isfinite(maximum[wrong[0]]) else maximum[wrong[0]]
        raise ActivationsError(f"importances must be finite and not negative, {_component(label)} has {value}")


def _component(label: str) -> str:
    """A component in a sentence."""
    if not is_label(label):
        return f"component {label!r}"
    module, index = split_label(label)
    return f"component {index} of module {module!r}"
