import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import HistoryDetails, MergeHistory
from spd.clustering.plotting import activity, cluster_sizes, costs, distances, partition
from spd.clustering.plotting.coassociation import (
    CoassociationView,
    draw_coassociation,
    save_coassociation_figure,
)
from spd.clustering.plotting.figures import save_distance_figure, save_run_figures, save_state_figure
from spd.errors import SPDError
from tests.clustering.histories import random_history

NAMES = ["costs.png", "cluster_sizes.png", "activations.png", "merge_state.png"]


def memberships_of(history: MergeHistory, n_samples: int, soft: bool = False, share: float = 0.2) -> Memberships:
    rng = np.random.default_rng(0)
    matrix = rng.random((n_samples, history.c_components)) * (rng.random((n_samples, history.c_components)) < share)
    return Memberships.from_activations(matrix.astype(np.float32), history.labels, None if soft else 0.01)


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


@pytest.mark.slow
@pytest.mark.parametrize(("n_components", "soft"), [(1, False), (2, True), (10, True), (700, False)])
def test_figures_of_a_run(tmp_path: Path, n_components: int, soft: bool) -> None:
    history = random_history(
        n_components, details=HistoryDetails(considered_fraction=np.linspace(0.1, 1, n_components - 1))
    )
    paths = save_run_figures(tmp_path / "plots", history, memberships_of(history, 64, soft))
    assert [path.name for path in paths] == NAMES
    for path in paths:
        image = pixels(path)
        assert min(image.shape[:2]) > 400
        assert 0.005 < (image < 0.9).any(axis=2).mean() < 0.95, f"{path.name} is nearly empty or nearly full"
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(NAMES)  # nothing temporary is left


@pytest.mark.slow
@pytest.mark.parametrize("n_components", [0, 3])
def test_figures_of_a_run_that_merged_nothing(tmp_path: Path, n_components: int) -> None:
    history = MergeHistory.from_config(MergeConfig(), [f"m:{c}" for c in range(n_components)])
    assert [path.name for path in save_run_figures(tmp_path, history)] == NAMES[:2]


@pytest.mark.slow
def test_figures_where_nothing_is_ever_active(tmp_path: Path) -> None:
    history = random_history(5)
    assert len(save_run_figures(tmp_path, history, memberships_of(history, 8, share=0.0))) == 4


@pytest.mark.slow
def test_figures_of_a_history_without_costs(tmp_path: Path) -> None:
    sound = random_history(12)
    history = MergeHistory(sound.labels, sound.merge_config, sound.selected_pairs)
    assert len(save_run_figures(tmp_path, history, memberships_of(history, 20))) == 4


@pytest.mark.slow
def test_one_state_at_any_iteration(tmp_path: Path) -> None:
    history = random_history(12)
    images = [
        pixels(save_state_figure(tmp_path / f"{t}.png", memberships_of(history, 30), history, t)) for t in (0, 5, -1)
    ]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


@pytest.mark.slow
@pytest.mark.parametrize(("n_members", "n_iters"), [(1, 5), (2, 0), (2, 1), (4, 3000), (12, 3000)])
def test_distance_figure(tmp_path: Path, n_members: int, n_iters: int) -> None:
    array = np.random.default_rng(0).random((n_iters, n_members, n_members)).cumsum(axis=0)
    array[:, *np.triu_indices(n_members)] = np.nan
    path = save_distance_figure(tmp_path / "distances.png", array, "pair_disagreement", 3001)
    assert pixels(path).min() < 0.5


def test_every_axis_is_named_with_its_unit() -> None:
    history = random_history(30)
    path = costs.cost_path(history)
    overview = activity.activity_overview(memberships_of(history, 40))
    view = partition.partition_view(memberships_of(history, 40), history.merges[10], 1.0)
    sizes = cluster_sizes.size_classes(history)
    spread = distances.distance_distribution(np.tril(np.ones((29, 3, 3)), -1))
    drawn = [
        lambda ax: costs.draw_mdl(ax, path),
        lambda ax: costs.draw_merge_costs(ax, path),
        lambda ax: cluster_sizes.draw_group_counts(ax, sizes, 30),
        lambda ax: cluster_sizes.draw_member_shares(ax, sizes, 30, 5),
        lambda ax: activity.draw_raster(ax, overview),
        lambda ax: activity.draw_frequencies(ax, overview),
        lambda ax: activity.draw_active_per_sample(ax, overview),
        lambda ax: activity.draw_cosines(ax, overview),
        lambda ax: partition.draw_assignment(ax, view),
        lambda ax: partition.draw_coactivation(ax, view),
        lambda ax: partition.draw_costs(ax, view),
        lambda ax: distances.draw_distances(ax, spread, "matching_dist", 30),
    ]
    for draw in drawn:
        ax = Figure().subplots()
        assert draw(ax) is ax
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_title(loc="left") or ax.get_title()


def test_the_best_state_is_marked_where_the_least_mdl_is() -> None:
    history = random_history(30)
    ax = costs.draw_mdl(Figure().subplots(), costs.cost_path(history))
    marks = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    best = history.best_n_merges
    assert [tuple(mark.get_xydata()[0]) for mark in marks] == [(best, history.mdl_path()[best])]
    assert f"{best:,} merges" in ax.texts[0].get_text()


def test_a_run_that_was_cut_too_early_says_so() -> None:
    labels = [f"m:{c}" for c in range(5)]
    falling = MergeHistory(labels, MergeConfig(), np.array([[0, 1], [0, 1]]), None, np.array([3.0, 2.0]), 4.0)
    ax = costs.draw_mdl(Figure().subplots(), costs.cost_path(falling))
    assert "cut too early" in ax.texts[0].get_text()
    ended = MergeHistory(labels[:3], MergeConfig(), np.array([[0, 1], [0, 1]]), None, np.array([3.0, 2.0]), 4.0)
    ax = costs.draw_mdl(Figure().subplots(), costs.cost_path(ended))
    assert "cut too early" not in ax.texts[0].get_text()


def test_memberships_of_other_components_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SPDError, match="not of the same components"):
        save_run_figures(tmp_path, random_history(5), memberships_of(random_history(6), 10))
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SPDError, match=r"costs\.png: cannot be written"):
        save_run_figures(tmp_path / "file", random_history(5))


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    history = random_history(20)
    for name in ("one", "other"):
        save_run_figures(tmp_path / name, history)
    for name in NAMES[:2]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_importing_needs_neither_matplotlib_nor_torch() -> None:
    code = "import sys, spd.clustering.plotting.figures as f; print({'matplotlib', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("n_modules", [3, 12])
def test_any_text_may_be_a_label(tmp_path: Path, n_modules: int, recwarn: pytest.WarningsRecorder) -> None:
    """Half a formula, a carriage return, an escape sequence, a script that the font lacks, a very long name."""
    modules = ["$x^{:0", "a\rb", "\x1b[31m", "日本語", "long." * 200][:n_modules]
    modules += [f"m{k}" for k in range(n_modules - len(modules))]
    labels = [f"{module}:{k}" for module in modules for k in range(2)]
    history = MergeHistory.from_config(MergeConfig(), labels)
    path = save_state_figure(tmp_path / "a.png", memberships_of(history, 20), history)
    view = CoassociationView(np.eye(len(labels)), len(labels), np.array([0, len(labels)]), labels, "", "title")
    for image in (pixels(path), pixels(save_coassociation_figure(tmp_path / "b.png", [view]))):
        assert 0.005 < (image < 0.9).any(axis=2).mean() < 0.95
    assert not recwarn.list
    ax = draw_coassociation(Figure().subplots(), view)
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown[0] == "$x^{:0:0"
    assert shown[2] == r"a\rb:0"
    assert max(map(len, shown)) < 60
    assert len(set(shown)) == len(labels)
