import numpy as np
import pytest
import torch

from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history import HistoryDetails, MergeHistory
from spd.errors import SPDError
from tests.clustering.histories import assert_same, random_history
from tests.oracles.merge_paths import replay

LABELS = ["a:0", "a:1", "b:0", "b:1", "b:2"]
PAIRS = np.array([[1, 4], [0, 3], [1, 2]])
"""{1, 4}, then {0, 3}, then groups 1 = {1, 4} and 2 = {2}."""


def by_hand(**extra: object) -> MergeHistory:
    return MergeHistory(LABELS, MergeConfig(), PAIRS, **extra)  # type: ignore[arg-type]


def test_by_hand() -> None:
    history = by_hand()
    assert (history.c_components, history.n_iters_current, history.total_iterations, len(history)) == (5, 3, 3, 3)
    assert (history.initial_k_groups, history.final_k_groups) == (5, 2)
    assert history.component_merges.tolist() == [[1, 4], [0, 3], [1, 2]]
    assert history.merges.group_idxs.tolist() == [[0, 1, 2, 3, 1], [0, 1, 2, 0, 1], [0, 1, 1, 0, 1]]
    assert history.merges.k_groups.tolist() == [4, 3, 2]
    assert history.get_unique_clusters(-1) == [0, 1]
    assert history.get_cluster_component_labels(-1, 1) == ["a:1", "b:0", "b:2"]
    assert history.get_cluster_components_info(1, 0) == [
        {"module": "a", "index": 0, "label": "a:0"},
        {"module": "b", "index": 1, "label": "b:1"},
    ]


def test_states() -> None:
    history = random_history(12)
    _, partitions = replay(history.selected_pairs, 12)
    for index in range(len(history)):
        for iteration in (index, index - len(history)):
            state = history[iteration]
            assert (state.idx, state.selected_pair) == (index, tuple(history.selected_pairs[index]))
            assert state.merges == GroupMerge(partitions[index], 11 - index) == history.merges[iteration]
    assert [state.idx for state in history] == list(range(11))
    assert list(history.merges) == [state.merges for state in history]
    assert history.latest().idx == 10
    assert np.array_equal(history.merges.at([3, -1, 0]), partitions[[3, -1, 0]])
    assert np.array_equal(history.merges[2:5].group_idxs, partitions[2:5])
    assert history.merges[2:5].k_groups.tolist() == [9, 8, 7]


@pytest.mark.parametrize("iteration", [3, -4, 100])
def test_an_iteration_that_is_not_there(iteration: int) -> None:
    history = by_hand()
    for call in (history.__getitem__, history.merges.__getitem__, history.get_unique_clusters):
        with pytest.raises(SPDError, match=rf"there is no iteration {iteration}, they are 0 \.\. 2"):
            call(iteration)
    with pytest.raises(IndexError):  # so that Python's own loops over it end
        history[iteration]


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(SPDError, match=r"no group 2 at iteration -1, groups are 0 \.\. 1"):
        by_hand().get_cluster_component_labels(-1, 2)


def test_built_merge_by_merge() -> None:
    expected = random_history(15)
    history = MergeHistory.from_config(expected.merge_config, expected.labels)
    assert len(history) == 0
    merge = GroupMerge.identity(15)
    for idx, pair in enumerate(expected.selected_pairs.tolist()):
        merge = merge.merge_groups(*pair)
        history.add_iteration(
            idx,
            tuple(pair),
            merge,
            merge_pair_cost=expected.merge_pair_cost[idx],
            mdl_loss_norm=expected.mdl_loss_norm[idx],
        )
        assert history.latest().merges == merge
    history.initial_mdl_loss_norm = expected.initial_mdl_loss_norm
    assert_same(history, expected)


def test_a_merge_that_does_not_fit() -> None:
    history = by_hand()
    following = history.latest().merges.merge_groups(0, 1)
    with pytest.raises(SPDError, match="expected iteration 3, the next one, got 4"):
        history.add_iteration(4, (0, 1), following)
    with pytest.raises(SPDError, match="iteration 3: the partition given is not what merging groups 0 and 1 gives"):
        history.add_iteration(3, (0, 1), history.latest().merges)
    assert len(history) == 3


def test_best_state() -> None:
    assert by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], initial_mdl_loss_norm=2.5).best_n_merges == 2
    assert by_hand(mdl_loss_norm=[3.0, 1.0, 1.0], initial_mdl_loss_norm=2.5).best_iteration == 1
    nothing_pays = by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], initial_mdl_loss_norm=0.5)
    assert (nothing_pays.best_n_merges, nothing_pays.best_iteration) == (0, None)
    from_cost = by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], merge_pair_cost=[2.5, -2.0, 1.0])
    assert from_cost.best_n_merges == 0
    assert MergeHistory.from_config(MergeConfig(), LABELS).best_n_merges == 0


@pytest.mark.parametrize(
    ("costs", "problem"),
    [
        ({}, "holds no costs"),
        ({"mdl_loss_norm": [1.0, 2.0, 3.0]}, "no MDL before the first merge"),
        ({"mdl_loss_norm": [1.0, np.nan, 3.0], "initial_mdl_loss_norm": 1.0}, "the MDL after 2 merges is nan"),
    ],
)
def test_best_state_unknown(costs: dict, problem: str) -> None:
    history = by_hand(**costs)
    for name in ("best_n_merges", "best_iteration"):
        with pytest.raises(SPDError, match=problem):
            getattr(history, name)
    assert history.summary()["best_n_merges"] is None


def test_summary_and_table() -> None:
    history = by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], initial_mdl_loss_norm=2.5, merge_pair_cost=[0.5, -2.0, 1.0])
    summary = history.summary()
    assert (summary["best_n_merges"], summary["best_k_groups"], summary["best_mdl_loss_norm"]) == (2, 3, 1.0)
    assert (summary["c_components"], summary["final_k_groups"], summary["final_mdl_loss_norm"]) == (5, 2, 2.0)
    table = history.to_dataframe()
    assert table.loc[2].to_dict() == {
        "iteration": 2,
        "group_a": 1,
        "group_b": 2,
        "kept_label": "a:1",
        "absorbed_label": "b:0",
        "kept_size": 2,
        "absorbed_size": 1,
        "k_groups": 2,
        "merge_pair_cost": 1.0,
        "mdl_loss_norm": 2.0,
    }
    assert "mdl_loss_norm" not in by_hand().to_dataframe()


@pytest.mark.parametrize("n_iters", [0, 1, 7, 19])
def test_linkage_is_valid_wherever_the_merge_stopped(n_iters: int) -> None:
    from scipy.cluster.hierarchy import is_valid_linkage

    linkage = random_history(20, n_iters).linkage()
    assert is_valid_linkage(linkage)
    assert linkage[:, 2].tolist() == list(range(1, 20))


def test_the_partition_after_a_number_of_merges() -> None:
    history = by_hand()
    assert history.partition_after(0).tolist() == [0, 1, 2, 3, 4]
    assert history.partition_after(2).tolist() == [0, 1, 2, 0, 1]
    assert history.partition_after(3).dtype == np.int64
    for beyond in (-1, 4):
        with pytest.raises(SPDError, match=f"no state after {beyond} merges, the history has 3"):
            history.partition_after(beyond)


def test_iterations_and_the_best_state_as_numbers_of_merges() -> None:
    history = by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], initial_mdl_loss_norm=2.5)
    assert [history.n_merges_at(where) for where in (0, 2, -1, -3, "best")] == [1, 3, 3, 1, 2]
    for beyond in (3, -4):
        with pytest.raises(IndexError, match=rf"no iteration {beyond}, they are 0 \.\. 2"):
            history.n_merges_at(beyond)
    with pytest.raises(SPDError, match="expected an iteration or 'best', got 'last'"):
        history.n_merges_at("last")  # type: ignore[arg-type]
    with pytest.raises(SPDError, match="holds no costs"):
        by_hand().n_merges_at("best")
    empty = MergeHistory.from_config(MergeConfig(), ["a:0"])
    assert empty.n_merges_at("best") == 0
    with pytest.raises(SPDError, match="no iteration 0, no merge was made"):
        empty.n_merges_at(0)


def test_whether_a_run_was_cut_too_early() -> None:
    falling = {"mdl_loss_norm": [3.0, 2.0, 1.0], "initial_mdl_loss_norm": 4.0}
    assert by_hand(**falling).is_cut_too_early
    assert not by_hand(mdl_loss_norm=[3.0, 1.0, 2.0], initial_mdl_loss_norm=4.0).is_cut_too_early
    assert not by_hand().is_cut_too_early, "the MDL is not known"
    merged_to_the_end = MergeHistory(LABELS[:2], MergeConfig(), np.array([[0, 1]]), None, np.array([1.0]), 2.0)
    assert not merged_to_the_end.is_cut_too_early
    for option in ("require_coactivation", "stop_at_mdl_minimum"):
        ended = HistoryDetails(MergeOptions(**{option: True}))
        assert not by_hand(**falling, details=ended).is_cut_too_early, "it ended by itself"
        cut = MergeHistory(LABELS, MergeConfig(iters=3), PAIRS, **falling, details=ended)  # type: ignore[arg-type]
        assert cut.is_cut_too_early


def test_torch_tensors_are_taken_and_numpy_is_kept() -> None:
    mdl = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    cost = torch.tensor([0.5, -2.0, 1.0], dtype=torch.bfloat16)
    considered = HistoryDetails(considered_fraction=torch.tensor([0.5, 0.25, 1.0]))  # type: ignore[arg-type]
    found = MergeHistory(LABELS, MergeConfig(), torch.tensor(PAIRS), cost, mdl, 2.5, details=considered)
    expected = MergeHistory(
        LABELS,
        MergeConfig(),
        PAIRS,
        np.array([0.5, -2.0, 1.0]),
        np.array([3.0, 1.0, 2.0]),
        2.5,
        details=HistoryDetails(considered_fraction=np.array([0.5, 0.25, 1.0])),
    )
    assert_same(found, expected)
    assert isinstance(found.selected_pairs, np.ndarray)
    appended = MergeHistory.from_config(MergeConfig(), LABELS)
    for idx, state in enumerate(expected):
        merge = GroupMerge(torch.tensor(state.merges.group_idxs), torch.tensor(state.merges.k_groups))  # type: ignore[arg-type]
        appended.add_iteration(idx, torch.tensor(state.selected_pair), merge, mdl_loss_norm=mdl[idx])  # type: ignore[arg-type]
    assert np.array_equal(appended.component_merges, expected.component_merges)
    assert np.array_equal(appended.mdl_loss_norm, expected.mdl_loss_norm)
    assert np.array_equal(found.merges.at(torch.tensor([0, -1])), found.merges.at([0, -1]))


def test_linkage_by_hand() -> None:
    assert by_hand().linkage().tolist() == [[1, 4, 1, 2], [0, 3, 2, 2], [2, 5, 3, 3], [6, 7, 4, 5]]


@pytest.mark.parametrize("labels", [[], ["a:0"]])
def test_histories_without_a_possible_merge(labels: list[str]) -> None:
    history = MergeHistory.from_config(MergeConfig(), labels)
    assert history.merges.group_idxs.shape == (0, len(labels))
    assert history.linkage().shape == (0, 4)
    assert history.final_k_groups == len(labels)
    assert len(history.to_dataframe()) == 0
    with pytest.raises(SPDError, match="no iterations"):
        history.latest()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"labels": ["a:0", "a:0"]}, "'a:0' is given twice"),
        ({"labels": ["a:0", "a\n:1"]}, "one line of text"),
        ({"selected_pairs": [[0, 5]]}, "merge 0 is of groups 0 and 5"),
        ({"selected_pairs": [[0.0, 1.0]]}, "must be integers"),
        ({"mdl_loss_norm": [1.0]}, r"mdl_loss_norm: expected one number for each of 3 merges, got \(1,\)"),
    ],
)
def test_what_is_refused(arguments: dict, problem: str) -> None:
    sound = {"labels": LABELS, "merge_config": MergeConfig(), "selected_pairs": PAIRS}
    with pytest.raises(SPDError, match=problem):
        MergeHistory(**(sound | arguments))


def test_a_label_without_an_index() -> None:
    history = MergeHistory(["one", "two"], MergeConfig(), np.zeros((0, 2), int))
    history.add_iteration(0, (0, 1), GroupMerge([0, 0], 1))
    assert history.get_cluster_component_labels(0, 0) == ["one", "two"]
    with pytest.raises(SPDError, match="<module>:<index>, got 'one'"):
        history.get_cluster_components_info(0, 0)


def test_all_partitions_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.merge_history.partitions.ALL_PARTITIONS_LIMIT", 100)
    history = random_history(20)
    with pytest.raises(SPDError, match="ask for the iterations that are needed"):
        _ = history.merges.group_idxs
    assert history.merges.at([-1]).tolist() == [[0] * 20]
