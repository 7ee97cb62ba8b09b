import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spd.clustering.harvest.builder import MembershipBuilder
from spd.errors import ActivationsError

MATRICES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.just(5)),
    elements=st.sampled_from([0.0, 0.0, 0.05, 0.1, 0.25, 1.0]),
)


def _modules(matrix: np.ndarray) -> dict[str, np.ndarray]:
    return {"b": matrix[:, :2], "a.pre": matrix[:, 2:3], "a": matrix[:, 3:]}


LABELS = ["b:0", "b:1", "a.pre:0", "a:0", "a:1"]


@settings(deadline=None)
@given(
    MATRICES,
    st.sampled_from([None, 0.1, 0.5]),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from(["max", "mean"]),
    st.sampled_from([None, "a", ["a", "b"]]),
    st.integers(1, 5),
)
def test_a_stream_gives_what_the_whole_matrix_gives(
    matrix: np.ndarray, threshold: float | None, dead: float, stat: str, name_filter: object, step: int
) -> None:
    builder = MembershipBuilder(threshold, dead, stat)  # type: ignore[arg-type]
    for start in range(0, len(matrix), step):
        builder.add(_modules(matrix[start : start + step]))
    statistic = (matrix.max(axis=0) if stat == "max" else matrix.mean(axis=0, dtype=np.float64)).astype(np.float32)
    chosen = {None: [0, 1, 2, 3, 4], "a": [2, 3, 4]}.get(name_filter if name_filter != ["a", "b"] else "", [0, 1, 3, 4])
    alive = [c for c in chosen if dead <= 0 or statistic[c] >= np.float32(dead)]
    if not alive:
        with pytest.raises(
            ActivationsError, match=f"no component is alive: the {stat} .* all {len(chosen)} components"
        ):
            builder.finish(name_filter)  # type: ignore[arg-type]
        return
    made = builder.finish(name_filter)  # type: ignore[arg-type]
    assert made.labels == [LABELS[c] for c in alive]
    assert made.dead_labels == [LABELS[c] for c in chosen if c not in alive]
    expected = matrix[:, alive] if threshold is None else matrix[:, alive] > np.float32(threshold)
    assert np.array_equal(made.to_scipy().toarray(), expected)


def test_the_error_names_the_threshold_and_the_number_of_components() -> None:
    builder = MembershipBuilder(0.1, 0.5)
    builder.add({"m": np.full((4, 3), 0.25, np.float32)})
    message = "the max importance of all 3 components is below filter_dead_threshold = 0.5, the greatest is 0.25"
    with pytest.raises(ActivationsError, match=message):
        builder.finish()


def test_a_maximum_equal_to_the_threshold_is_alive() -> None:
    builder = MembershipBuilder(0.1, 0.5)
    builder.add({"m": np.array([[0.5, 0.25]], np.float32)})
    assert builder.finish().labels == ["m:0"]


@pytest.mark.parametrize(
    ("name_filter", "message"),
    [("c", "matches no module"), (["a", "c"], r"matches no module for \['c'\]"), ([], "matches no module")],
)
def test_a_filter_that_matches_nothing(name_filter: object, message: str) -> None:
    builder = MembershipBuilder(0.1, 0)
    builder.add(_modules(np.ones((1, 5), np.float32)))
    with pytest.raises(ActivationsError, match=message):
        builder.finish(name_filter)  # type: ignore[arg-type]


def test_micro_batches_that_do_not_fit() -> None:
    builder = MembershipBuilder(0.1, 0)
    with pytest.raises(ActivationsError, match="no sample"):
        builder.finish()
    builder.add({"a": np.ones((2, 3)), "b": np.ones((2, 1))})
    with pytest.raises(ActivationsError, match="differ in their modules"):
        builder.add({"b": np.ones((2, 1)), "a": np.ones((2, 3))})
    with pytest.raises(ActivationsError, match="different numbers of rows"):
        builder.add({"a": np.ones((2, 3)), "b": np.ones((1, 1))})
    with pytest.raises(ActivationsError, match=r"module 'a': expected rows x components, got shape \(2, 3, 1\)"):
        builder.add({"a": np.ones((2, 3, 1)), "b": np.ones((2, 1))})
    with pytest.raises(ActivationsError, match="component 1 of module 'a' has nan"):
        builder.add({"a": np.array([[0.5, np.nan, 0.5]]), "b": np.ones((1, 1))})
    builder.add({"a": np.ones((0, 3)), "b": np.ones((0, 1))})
    assert builder.n_samples == 2
