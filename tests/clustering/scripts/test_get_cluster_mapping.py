import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_clustering_runs, register_clustering_run
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.scripts.get_cluster_mapping import get_cluster_mapping, main
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import SPDError

RUN_IDS = ("c-00000000", "c-00000001")
CONFIG = ClusteringRunConfig(model_path="wandb:goodfire/spd/runs/abc123", batch_size=8)


def history(labels: list[str], pairs: list[list[int]], mdl: list[float]) -> MergeHistory:
    return MergeHistory(labels, MergeConfig(), np.array(pairs), None, np.array(mdl), 10.0)


HISTORIES = (
    # {a:0, b:0}, then {a:1, a:2}, then all four
    history(["a:0", "a:1", "a:2", "b:0"], [[0, 3], [1, 2], [0, 1]], [6.0, 5.0, 8.0]),
    # {a:0, a:1}, then {a:0, a:1, b:0}
    history(["a:0", "a:1", "b:0"], [[0, 1], [0, 1]], [9.0, 9.5]),
)


@pytest.fixture
def run_dir(out_dir: Path) -> Path:
    paths = RunPaths(RUN_IDS[0])
    HISTORIES[0].save(paths.history)
    CONFIG.to_file(paths.config)
    return paths.directory


@pytest.fixture
def ensemble_dir(out_dir: Path) -> Path:
    from spd.clustering.pipeline.comparison import collect_ensemble

    paths = EnsemblePaths("e-0000000a")
    for run_id, member in zip(RUN_IDS, HISTORIES, strict=True):
        register_clustering_run(paths.ensemble_id, run_id)
        member.save(RunPaths(run_id).history)
    CONFIG.to_file(paths.clustering_run_config)
    assert [run_id for _, run_id in get_clustering_runs(paths.ensemble_id)] == list(RUN_IDS)
    collect_ensemble(paths)
    return paths.directory


def test_a_run_at_an_iteration(run_dir: Path) -> None:
    assert get_cluster_mapping(run_dir, 0, notes="first merge") == {
        "clustering_run_id": RUN_IDS[0],
        "notes": "first merge",
        "spd_run": "goodfire/spd/abc123",
        "iteration": 0,
        "clusters": {"a:0": 0, "a:1": None, "a:2": None, "b:0": 0},
    }


@pytest.mark.parametrize(("iteration", "expected"), [(-1, 2), (-3, 0), (2, 2), ("best", 1)])
def test_iterations_of_a_run(run_dir: Path, iteration: int, expected: int) -> None:
    assert get_cluster_mapping(run_dir, iteration)["iteration"] == expected


def test_a_run_whose_best_state_is_before_any_merge(run_dir: Path) -> None:
    nothing_pays = history(["a:0", "a:1"], [[0, 1]], [11.0])
    nothing_pays.save(run_dir / "history.zip")
    mapping = get_cluster_mapping(run_dir, "best")
    assert mapping["iteration"] is None
    assert mapping["clusters"] == {"a:0": None, "a:1": None}


def test_a_member_of_an_ensemble(ensemble_dir: Path) -> None:
    assert get_cluster_mapping(ensemble_dir, -1, run_idx=1) == {
        "ensemble_id": "e-0000000a",
        "notes": "",
        "spd_run": "goodfire/spd/abc123",
        "n_iterations": 1,
        "run_idx": 1,
        "clusters": {"a:0": 0, "a:1": 0, "a:2": None, "b:0": 0},
    }
    best = get_cluster_mapping(ensemble_dir, "best", run_idx=0)
    assert best["n_iterations"] == 1
    assert best["clusters"] == {"a:0": 0, "a:1": 1, "a:2": 1, "b:0": 0}


def test_without_the_histories_the_merge_array_says_the_same(ensemble_dir: Path, out_dir: Path) -> None:
    expected = [get_cluster_mapping(ensemble_dir, iteration, run_idx=1) for iteration in (0, 1)]
    RunPaths(RUN_IDS[1]).history.unlink()
    assert [get_cluster_mapping(ensemble_dir, iteration, run_idx=1) for iteration in (0, 1)] == expected
    with pytest.raises(SPDError, match="the history of member 1 is not at hand"):
        get_cluster_mapping(ensemble_dir, "best", run_idx=1)


def test_the_consensus(ensemble_dir: Path) -> None:
    from spd.clustering.pipeline.stable_groups import write_stable_groups

    with pytest.raises(SPDError, match=r"holds no consensus yet.*calc_consensus --pipeline-run-id e-0000000a"):
        get_cluster_mapping(ensemble_dir, "best")
    write_stable_groups(EnsemblePaths("e-0000000a"))
    written = json.loads((ensemble_dir / "consensus_mapping.json").read_text())
    assert get_cluster_mapping(ensemble_dir, "best", notes=written["notes"]) == written

    last = get_cluster_mapping(ensemble_dir, -1)
    assert (last["run_idx"], last["n_iterations"]) == (None, 1)
    assert set(last["clusters"]) == {"a:0", "a:1", "a:2", "b:0"}
    assert last["clusters"]["a:0"] == last["clusters"]["b:0"] is not None


def test_an_ensemble_of_the_reference(golden: Path) -> None:
    root = golden / "expected" / "resid_mlp1" / "e2e_reference_layout"
    directory = root / "ensembles" / "e-4a70d619"
    labels = json.loads((directory / "ensemble_meta.json").read_text())["component_labels"]
    groups = np.load(directory / "ensemble_merge_array.npz")["merge_array"][2, 100]
    mapping = get_cluster_mapping(directory, 100, run_idx=2)
    assert mapping["spd_run"] == "goodfire/spd/s-resid001"
    for label, group in zip(labels, groups, strict=True):
        assert mapping["clusters"][label] == (int(group) if (groups == group).sum() > 1 else None)


def test_rows_that_the_reference_filled_up_are_no_iterations(golden: Path, tmp_path: Path) -> None:
    source = golden / "expected" / "lm_kjv" / "ensemble"
    for name in ("ensemble_meta.json", "ensemble_merge_array.npz"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    assert get_cluster_mapping(tmp_path, -1, run_idx=1)["n_iterations"] == 452
    with pytest.raises(SPDError, match="there is no iteration 453"):
        get_cluster_mapping(tmp_path, 453, run_idx=1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--iteration", "3"], "there is no iteration 3, they are 0 .. 2"),
        (["--iteration", "-4"], "there is no iteration -4"),
        (["--iteration", "0", "--run-idx", "0"], "is a run, not an ensemble, and has no member 0"),
    ],
)
def test_what_a_run_refuses(
    run_dir: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_dir), *arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {run_dir}")
    assert problem in output.err
    assert output.err.count("\n") == 1


def test_what_an_ensemble_refuses(ensemble_dir: Path) -> None:
    with pytest.raises(SPDError, match="has no member 2, its members are 0, 1"):
        get_cluster_mapping(ensemble_dir, 0, run_idx=2)
    with pytest.raises(SPDError, match=r"there is no iteration 2, they are 0 \.\. 1"):
        get_cluster_mapping(ensemble_dir, 2)


def test_a_directory_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(SPDError, match=r"holds neither history\.zip nor ensemble_meta\.json"):
        get_cluster_mapping(tmp_path, 0)
    with pytest.raises(SPDError, match="does not exist"):
        get_cluster_mapping(tmp_path / "none", 0)


def test_a_run_without_costs_has_no_best_iteration(golden: Path) -> None:
    run = golden / "expected" / "resid_mlp1" / "e2e_reference_layout" / "runs" / "c-10ee4bda"
    with pytest.raises(SPDError, match=r"holds no costs.*give a number to --iteration"):
        get_cluster_mapping(run, "best")


def test_printed_or_written(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = get_cluster_mapping(run_dir, "best", notes="n")
    assert main([str(run_dir), "--iteration", "best", "--notes", "n"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    target = tmp_path / "new" / "mapping.json"
    assert main([str(run_dir), "--iteration", "-2", "--notes", "n", "--output", str(target)]) == 0
    assert json.loads(target.read_text()) == expected
    assert capsys.readouterr().out == f"{target}\n"


def test_an_output_that_is_no_regular_file_stays_what_it_is(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "target.json").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target.json")
    for output in ("/dev/null", tmp_path / "link"):
        assert main([str(run_dir), "--iteration", "best", "--output", str(output)]) == 0
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target.json").read_text()) == get_cluster_mapping(run_dir, "best")


def test_an_iteration_that_is_no_number(run_dir: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir), "--iteration", "last"])


def test_what_goes_to_stdout_is_the_mapping_alone(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_dir), "--iteration", "0", "--output", "/dev/stdout"]) == 0
    assert json.loads(capfd.readouterr().out)["iteration"] == 0
