"""What the groups of a run fire on, as text, on the bundled run, whose right answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.sources import open_source
from spd.clustering.report.text import Selection, describe_groups
from spd.clustering.scripts.show_groups import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    merge_config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    config = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=2000, merge_config=merge_config)
    memberships = open_source(config).memberships(config)
    history = merge_iteration(merge_config, memberships, memberships.labels, rng=np.random.default_rng(0))
    history.save(directory / "history.zip")
    config.to_file(directory / "clustering_run_config.json")
    return directory


def test_each_group_of_the_bundled_run_stands_for_one_feature(run: Path) -> None:
    shown = describe_groups(run, selection=Selection(n_groups=40, items=100))
    assert len(shown) == 40
    features = [next(iter(group.inputs.items())) for group in shown]
    assert len({name for name, _ in features}) == 40
    assert min(share for _, share in features) > 0.7
    assert all(len(group.modules) == 4 for group in shown)


def test_the_command_prints_and_writes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "groups.json"
    assert main([str(run), "--groups", "2", "--items", "5", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("components, active on") == 2
    assert [group["n_components"] for group in json.loads(output.read_text())] == [
        int(line.split(": ")[1].split()[0]) for line in printed.splitlines() if line.startswith("group")
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--iteration", "9999"], "there is no iteration 9999"),
        (["--iteration", "first"], "expected 'best' or a number"),
    ],
)
def test_an_iteration_that_is_not_there(
    run: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    assert main([str(run), *flags]) == 1
    assert expected in capsys.readouterr().err


def test_a_directory_without_history(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clustering_run_config.json").write_text((run / "clustering_run_config.json").read_text())
    assert main([str(tmp_path)]) == 1
    assert "history.zip" in capsys.readouterr().err
