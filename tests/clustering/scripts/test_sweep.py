"""The command from a config to a recommended alpha."""

import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.clustering.scripts.sweep import main

pytestmark = pytest.mark.slow

TRUTH = np.repeat(np.arange(8), 4)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A config, and beside it the memberships of a harvest with eight planted groups of four."""
    rng = np.random.default_rng(0)
    x = (rng.random((2000, 8)) < 0.06)[:, TRUTH] & (rng.random((2000, 32)) < 0.85)
    memberships = Memberships.from_activations(x, [f"m:{i}" for i in range(32)], None)
    memberships.save(tmp_path / "memberships.npz")
    config = ClusteringRunConfig(
        model_path="example:nowhere",
        batch_size=8,
        merge_config=MergeConfig(merge_pair_sampling_kwargs={"threshold": 0.001}),
    )
    config.to_file(tmp_path / "config.json")
    return tmp_path / "config.json"


def test_the_sweep_recommends_writes_and_says_why(config_file: Path, capsys: pytest.CaptureFixture) -> None:
    output = config_file.parent / "out"
    arguments = ["--config", str(config_file), "--memberships", str(config_file.parent / "memberships.npz")]
    arguments += ["--alphas", "0,2,5000", "--n-seeds", "3", "--n-workers", "1", "--output", str(output)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    content = json.loads((output / "sweep.json").read_text())
    assert content["recommended_alpha"] == 2
    assert content["reason"] in printed
    assert "stable groups of an ensemble by default, do not depend on alpha" in printed
    assert json.loads((output / "stable_groups.json").read_text())["cut_kind"] == "mdl"
    assert [result["alpha"] for result in content["results"]] == [0, 2, 5000]
    assert (output / "sweep.csv").read_text().count("\n") == 4
    assert (output / "plots" / "sweep.png").stat().st_size > 10_000
    clusters = json.loads((output / "consensus_mapping.json").read_text())["clusters"]
    found = np.array([clusters[f"m:{i}"] for i in range(32)])
    assert all(len(set(found[group == TRUTH])) == 1 for group in range(8))
    assert len(set(found)) == 8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n-seeds", "1"], "at least 2 members, got 1"),
        (["--alphas=-1,2"], "expected different numbers >= 0 as alphas, got -1, 2"),
        (["--alphas", "2,2"], "expected different numbers >= 0 as alphas, got 2, 2"),
        (["--memberships", "nowhere.npz"], "nowhere.npz"),
        (["--output", "/dev/null/s"], "/dev/null/s: cannot be written: /dev/null is not a directory"),
    ],
)
def test_errors_are_one_sentence(
    config_file: Path, capsys: pytest.CaptureFixture, flags: list[str], message: str
) -> None:
    arguments = ["--config", str(config_file), "--memberships", str(config_file.parent / "memberships.npz")]
    output = config_file.parent / "out"
    assert main([*arguments, "--output", str(output), "--n-workers", "1", *flags]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()
