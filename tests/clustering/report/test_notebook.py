"""A directory in a notebook: its groups, its table, and what it shows of itself, with every label only text."""

from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus import cut_members, find_consensus
from spd.clustering.groups import find_groups
from spd.clustering.merge_config import MergeConfig
from spd.clustering.report.notebook import Loaded, load
from spd.errors import SPDError
from tests.clustering.histories import random_history
from tests.planted import planted


@pytest.fixture
def run(tmp_path: Path) -> Loaded:
    rng = np.random.default_rng(0)
    values = planted(rng, 300, np.repeat(np.arange(4), 3), [0.2] * 4, 0.9)
    np.save(tmp_path / "mine.npy", values)
    labels = [f"<img src=x onerror=alert(1)>:{i}" for i in range(12)]
    (tmp_path / "mine.labels.txt").write_text("\n".join(labels), encoding="utf-8")
    directory = tmp_path / "c-00000000"
    directory.mkdir()
    history = random_history(12, labels=labels)
    history.save(directory / "history.zip")
    config = ClusteringRunConfig(
        activations_path=str(tmp_path / "mine.npy"), batch_size=300, merge_config=MergeConfig(iters=None)
    )
    config.to_file(directory / "clustering_run_config.json")
    return load(directory)


def test_what_is_at_hand(run: Loaded) -> None:
    assert run.history is not None
    assert run.config is not None
    partition = run.history.partition_after(run.history.best_n_merges)
    table = run.table()
    assert table["size"].tolist() == sorted(np.bincount(partition), reverse=True)
    for group in table["id"]:
        assert run.members(group) == [run.history.labels[i] for i in np.flatnonzero(partition == group)]
    with pytest.raises(SPDError, match="no group 99"):
        run.members(99)
    content = run.content(n_samples=200)
    assert content["data"]["n_samples"] == 200
    assert run.report(n_samples=100).name == "report.html"


def test_html_shows_labels_as_text(run: Loaded) -> None:
    for shown in (run._repr_html_(), run.history._repr_html_()):  # type: ignore[union-attr]
        assert "<img" not in shown
        assert shown.startswith("<div>")
        assert shown.endswith("</div>")
    assert "&lt;img src=x" in run._repr_html_()


def test_a_consensus_shows_its_verdicts() -> None:
    consensus = find_consensus(cut_members([random_history(10, seed=seed) for seed in range(3)]))
    shown = consensus._repr_html_()
    assert "adjusted Rand" in shown
    assert shown.count("<tr>") == 1 + sum(len(inside) > 1 for inside in consensus.groups)


def test_groups_show_themselves() -> None:
    values = planted(np.random.default_rng(0), 500, np.repeat(np.arange(4), 3), [0.2] * 4, 0.9)
    groups = find_groups(values, [f"<b>m</b>:{i}" for i in range(12)], control=False)
    shown = groups._repr_html_()
    assert "<b>m" not in shown
    assert shown.count("<tr>") == 1 + int((groups.sizes > 1).sum())
