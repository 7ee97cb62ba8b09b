"""The command on an ensemble directory: files, summary, and errors in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus import read_stable_groups
from spd.clustering.ensemble_registry import register_clustering_run
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.scripts.calc_consensus import main
from spd.clustering.storage import EnsemblePaths, RunPaths

pytestmark = pytest.mark.slow

ENSEMBLE = "e-0000000b"
LABELS = ["a:0", "a:1", "b:0", "b:1"]


@pytest.fixture
def paths(out_dir: Path) -> EnsemblePaths:
    """Three members that all begin with a:0 and b:0; two go on with a:1 and b:1 and have their minimum there."""
    found = EnsemblePaths(ENSEMBLE)
    for member, (pairs, mdl) in enumerate(
        [([[0, 2], [1, 2]], [5.0, 4.0]), ([[0, 2], [1, 2]], [5.0, 4.0]), ([[0, 2], [0, 1]], [5.0, 8.0])]
    ):
        run_id = f"c-{member:08x}"
        register_clustering_run(ENSEMBLE, run_id)
        MergeHistory(LABELS, MergeConfig(), np.array(pairs), None, np.array(mdl), 6.0).save(RunPaths(run_id).history)
    ClusteringRunConfig(model_path="wandb:goodfire/spd/runs/abc123", batch_size=8).to_file(found.clustering_run_config)
    return found


def test_files_and_summary(paths: EnsemblePaths, capsys: pytest.CaptureFixture) -> None:
    assert main(["--pipeline-run-id", ENSEMBLE]) == 0
    printed = capsys.readouterr().out
    assert "stable groups of 3 members, cut at each member's own MDL minimum" in printed
    assert str(paths.stable_groups) in printed
    content = read_stable_groups(paths.stable_groups)
    assert [member["run_id"] for member in content["members"]] == ["c-00000000", "c-00000001", "c-00000002"]
    assert {tuple(group["components"]): group["verdict"] for group in content["groups"]} == {
        ("a:0", "b:0"): "core",
        ("a:1", "b:1"): "uncertain",
    }
    mapping = json.loads((paths.directory / "consensus_mapping.json").read_text())
    assert (mapping["ensemble_id"], mapping["spd_run"]) == (ENSEMBLE, "goodfire/spd/abc123")
    assert mapping["clusters"] == {"a:0": 0, "a:1": 1, "b:0": 0, "b:1": 1}
    for name in ("stability.png", "coassociation.png"):
        assert (paths.plots / name).stat().st_size > 5000


def test_where_and_how_strictly_to_cut(paths: EnsemblePaths) -> None:
    assert main(["--pipeline-run-id", ENSEMBLE, "--iteration", "0", "--threshold", "0.6"]) == 0
    content = read_stable_groups(paths.stable_groups)
    assert [group["components"] for group in content["stable_groups"]] == [["a:0", "b:0"]]
    assert (content["cut"], content["threshold"]) == ("iteration 0", 0.6)
    assert main(["--pipeline-run-id", ENSEMBLE, "--threshold", "0.6"]) == 0
    assert len(read_stable_groups(paths.stable_groups)["stable_groups"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pipeline-run-id", "e-1"], "'e-1' is no id of an ensemble"),
        (["--pipeline-run-id", "e-ffffffff"], "is not registered"),
        (["--pipeline-run-id", ENSEMBLE, "--iteration", "7"], "member 0: there is no iteration 7, they are 0 .. 1"),
        (
            ["--pipeline-run-id", ENSEMBLE, "--n-groups", "1"],
            "member 0: there is no state with 1 groups",
        ),
        (
            ["--pipeline-run-id", ENSEMBLE, "--cut", "mdl", "--threshold", "0.3"],
            "must be above 0.5 and at most 1, got 0.3",
        ),
    ],
)
def test_errors_are_one_sentence(
    paths: EnsemblePaths, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not paths.stable_groups.exists()
