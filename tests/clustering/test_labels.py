"""Labels of components: reading, making and checking them, and which of them a config means."""

import numpy as np
import pytest

from spd.clustering import labels
from spd.errors import ActivationsError


@pytest.mark.parametrize(
    ("label", "parts"),
    [("m:0", ("m", 0)), ("h.0.mlp:12", ("h.0.mlp", 12)), ("a:b:3", ("a:b", 3)), ("x\ny:7", ("x\ny", 7))],
)
def test_a_label_is_split_at_its_last_colon(label: str, parts: tuple[str, int]) -> None:
    assert labels.is_label(label)
    assert labels.split_label(label) == parts
    assert labels.module_of(label) == parts[0]


@pytest.mark.parametrize("text", ["", "m", "m:", ":3", "m:-1", "m:x", "m:1.5", "m:1 "])
def test_what_is_no_label(text: str) -> None:
    assert not labels.is_label(text)
    assert labels.module_of(text) == text
    with pytest.raises(ActivationsError, match="a component's label is <module>:<index>, got"):
        labels.split_label(text)


def test_labels_of_modules_in_their_order() -> None:
    assert labels.component_labels({"b": 2, "a": 1, "empty": 0}) == ["b:0", "b:1", "a:0"]


@pytest.mark.parametrize(
    ("chosen_by", "chosen"),
    [
        (None, ["h.1.up", "h.0.up", "h.0.down"]),
        ("h.0", ["h.0.up", "h.0.down"]),
        (["h.0.up", "h.1.up"], ["h.1.up", "h.0.up"]),
        ({"h.0.down"}, ["h.0.down"]),
    ],
)
def test_which_modules_a_filter_keeps(chosen_by: object, chosen: list[str]) -> None:
    assert labels.matching_modules(["h.1.up", "h.0.up", "h.0.down"], chosen_by) == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize("chosen_by", ["mlp", ["h.0.up", "h.0"], [], "up"])
def test_a_filter_that_matches_nothing_names_the_modules(chosen_by: object) -> None:
    with pytest.raises(ActivationsError, match=r"matches no module .* the modules are \['h.0.up', 'h.1.up'\]"):
        labels.matching_modules(["h.0.up", "h.1.up"], chosen_by)  # type: ignore[arg-type]


def test_a_label_given_twice() -> None:
    assert labels.check_labels(["b:1", "a:0"]) == ["b:1", "a:0"]
    with pytest.raises(ActivationsError, match="must be unique, 'a:0' is given twice"):
        labels.check_labels(["a:0", "b:1", "a:0", "b:1"])


@pytest.mark.parametrize(
    ("minimum", "maximum", "value"),
    [(-0.5, 1.0, "-0.5"), (0.0, np.inf, "inf"), (np.nan, np.nan, "nan"), (-np.inf, 1, "-inf")],
)
def test_importances_that_cannot_be_name_their_component(minimum: float, maximum: float, value: str) -> None:
    names = ["a:0", "b:7"]
    labels.check_values(np.zeros(2), np.array([0.0, 1.5]), names)
    with pytest.raises(ActivationsError, match=f"component 7 of module 'b' has {value}"):
        labels.check_values(np.array([0.0, minimum]), np.array([1.0, maximum]), names)


def test_live_components_are_at_least_at_the_threshold() -> None:
    statistic = np.array([0.0, 0.1, 0.25])
    assert labels.live_components(statistic, 0.1).tolist() == [False, True, True]
    assert labels.live_components(statistic, 0.0).all()
    assert labels.live_components(statistic, -1.0).all()


def test_components_that_are_all_dead() -> None:
    labels.check_some_alive(1, np.array([0.1, 0.9]), 0.5, "max")
    message = "the mean importance of all 2 components is below filter_dead_threshold = 0.5, the greatest is 0.25"
    with pytest.raises(ActivationsError, match=message):
        labels.check_some_alive(0, np.array([0.25, 0.1]), 0.5, "mean")
