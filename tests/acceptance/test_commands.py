"""The commands, on an output directory that goodfire-ai/spd wrote and on a matrix of the user's own."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from spd.clustering.merge_history import MergeHistory
from tests.clustering.scripts.commands import Command, Done, run_all

pytestmark = pytest.mark.slow

ENSEMBLE = "e-4a70d619"
MEMBERS = ["c-10ee4bda", "c-de2b8025", "c-b4fcbed1"]


def test_help_is_light() -> None:
    code = (
        "import sys\n"
        "from spd.clustering.scripts.run_pipeline import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as left:\n    assert left.code == 0\n"
        "print({m for m in ('torch', 'numba', 'scipy', 'matplotlib', 'wandb', 'datasets') if m in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    for flag in (
        "--config",
        "--local",
        "--n-runs",
        "--wandb-project",
        "--wandb-entity",
        "--distances-methods",
        "--local-clustering-parallel",
        "--local-calc-distances-parallel",
        "--track-resources-calc-distances",
        "--dataset-streaming",
    ):
        assert flag in done.stdout, flag


@pytest.fixture(scope="module")
def reference(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory of goodfire-ai/spd, writable, without the distances."""
    out = tmp_path_factory.mktemp("reference")
    shutil.copytree(golden / "expected" / "resid_mlp1" / "e2e_reference_layout", out / "clustering")
    for path in [out / "clustering", *(out / "clustering").rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    for path in (out / "clustering" / "ensembles" / ENSEMBLE).glob("distances_*.npz"):
        path.unlink()
    return out


@pytest.fixture(scope="module")
def done(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    clustering = reference / "clustering"
    ensemble, run = str(clustering / "ensembles" / ENSEMBLE), str(clustering / "runs" / MEMBERS[0])
    mapping = "get_cluster_mapping"
    commands = {
        "hamming": ("calc_distances", ["--pipeline-run-id", ENSEMBLE, "--distances-method", "perm_invariant_hamming"]),
        "pairs": ("calc_distances", ["--pipeline-run-id", ENSEMBLE, "--distances-method", "pair_disagreement"]),
        "unknown method": ("calc_distances", ["--pipeline-run-id", ENSEMBLE, "--distances-method", "euclid"]),
        "unknown ensemble": (
            "calc_distances",
            ["--pipeline-run-id", "e-00000000", "--distances-method", "matching_dist"],
        ),
        "path as id": ("calc_distances", ["--pipeline-run-id", "../x", "--distances-method", "matching_dist"]),
        "status": ("run_pipeline", ["--status", ENSEMBLE]),
        "member": (mapping, [ensemble, "--iteration", "30", "--run-idx", "1", "--notes", "some words"]),
        "consensus": (mapping, [ensemble, "--iteration", "-1", "--output", str(reference / "consensus.json")]),
        "run": (mapping, [run, "--iteration", "-1"]),
        "best of the reference": (mapping, [run, "--iteration", "best"]),
        "no such iteration": (mapping, [run, "--iteration", "100000"]),
        "no such member": (mapping, [ensemble, "--iteration", "3", "--run-idx", "3"]),
        "no such directory": (mapping, [str(clustering / "runs" / "c-00000000"), "--iteration", "3"]),
        "no config": ("run_pipeline", ["--config", "missing.yaml", "--local"]),
        "no run config": ("run_clustering", ["--config", "missing.json"]),
    }
    listed = [Command(module, arguments, reference) for module, arguments in commands.values()]
    return dict(zip(commands, run_all(listed, tmp_path_factory.mktemp("cwd")), strict=True))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("unknown method", "euclid"),
        ("unknown ensemble", "e-00000000"),
        ("path as id", "../x"),
        ("best of the reference", "costs"),
        ("no such iteration", "100000"),
        ("no such member", "3"),
        ("no such directory", "c-00000000"),
        ("no config", "missing.yaml"),
        ("no run config", "missing.json"),
    ],
)
def test_errors_are_one_sentence(done: dict[str, Done], name: str, says: str) -> None:
    assert done[name].status == 1
    assert says in done[name].error
    assert "Traceback" not in done[name].stderr
    assert done[name].stdout == ""


def test_distances_of_the_reference(done: dict[str, Done], reference: Path, golden: Path) -> None:
    source = golden / "expected" / "resid_mlp1" / "e2e_reference_layout" / "ensembles" / ENSEMBLE
    for name, ours, theirs in (
        ("hamming", "perm_invariant_hamming", "perm_invariant_hamming"),
        ("pairs", "pair_disagreement", "matching_dist"),
    ):
        assert done[name].status == 0, done[name].stderr
        directory = reference / "clustering" / "ensembles" / ENSEMBLE
        with np.load(directory / f"distances_{ours}.npz") as data:
            found = data["distances"]
        with np.load(source / f"distances_{theirs}.npz") as data:
            expected = data["distances"]
        if theirs == "matching_dist":  # there in the upper triangle
            expected = expected.transpose(0, 2, 1)
        rows, columns = np.tril_indices(3, -1)
        np.testing.assert_array_equal(found[:, rows, columns], expected[:, rows, columns])
        assert np.isnan(found[:, *np.triu_indices(3)]).all()
        assert (directory / f"distances_{ours}.png").read_bytes().startswith(b"\x89PNG")


def test_status_of_the_reference(done: dict[str, Done]) -> None:
    assert done["status"].status == 0, done["status"].stderr
    for member in MEMBERS:
        assert member in done["status"].stdout


def test_mappings_of_the_reference(done: dict[str, Done], reference: Path) -> None:
    clustering = reference / "clustering"
    for name in ("run", "member", "consensus"):
        assert done[name].status == 0, done[name].stderr
    meta = json.loads((clustering / "ensembles" / ENSEMBLE / "ensemble_meta.json").read_text())

    found = json.loads(done["run"].stdout)
    history = MergeHistory.read(clustering / "runs" / MEMBERS[0] / "history.zip")
    assert set(found) == {"clustering_run_id", "notes", "spd_run", "iteration", "clusters"}
    assert (found["clustering_run_id"], found["iteration"]) == (MEMBERS[0], len(history) - 1)
    assert found["spd_run"] == "goodfire/spd/s-resid001"
    check_clusters(found["clusters"], history, -1)

    found = json.loads(done["member"].stdout)
    history = MergeHistory.read(clustering / "runs" / MEMBERS[1] / "history.zip")
    assert set(found) == {"ensemble_id", "notes", "spd_run", "n_iterations", "run_idx", "clusters"}
    assert (found["ensemble_id"], found["run_idx"], found["notes"]) == (ENSEMBLE, 1, "some words")
    assert found["spd_run"] == "goodfire/spd/s-resid001"
    assert set(found["clusters"]) == set(meta["component_labels"])
    own = {label: cluster for label, cluster in found["clusters"].items() if label in set(history.labels)}
    check_clusters(own, history, 30)
    assert not any(cluster is not None for label, cluster in found["clusters"].items() if label not in own)

    found = json.loads((reference / "consensus.json").read_text())
    assert set(found) == {"ensemble_id", "notes", "spd_run", "n_iterations", "run_idx", "clusters"}
    assert found["run_idx"] is None
    assert set(found["clusters"]) == set(meta["component_labels"])


def check_clusters(clusters: dict[str, int | None], history: MergeHistory, iteration: int) -> None:
    """The groups of two and more are the history's; who is alone has null."""
    merge = history.merges[iteration]
    sizes = merge.components_per_group
    expected = {
        label: None if sizes[group] == 1 else int(group)
        for label, group in zip(history.labels, merge.group_idxs, strict=True)
    }
    assert clusters == expected


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """An ensemble of a matrix of the user's own, by the command itself."""
    directory = tmp_path_factory.mktemp("pipeline")
    rng = np.random.default_rng(0)
    np.save(directory / "mine.npy", (rng.random((300, 12)) * (rng.random((300, 12)) < 0.3)).astype(np.float32))
    run = {"activations_path": "mine.npy", "batch_size": 200, "merge_config": {"iters": None}}
    (directory / "crc.json").write_text(json.dumps(run))
    config = {"clustering_run_config_path": "crc.json", "n_runs": 5, "distances_methods": ["matching_dist"]}
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(config))
    arguments = "--config pipeline.yaml --local --n-runs 2 --wandb-project None --track-resources-calc-distances"
    methods = ["--distances-methods", "perm_invariant_hamming,pair_disagreement"]
    environment = {**os.environ, "SPD_OUT_DIR": str(directory / "out"), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-m", "spd.clustering.scripts.run_pipeline", *arguments.split(), *methods],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return directory / "out" / "clustering", done


def test_pipeline_layout(pipeline: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    clustering, done = pipeline
    assert done.returncode == 0, done.stderr
    (ensemble,) = (clustering / "ensembles").iterdir()
    runs = sorted(path for path in (clustering / "runs").iterdir())
    assert len(runs) == 2
    assert ensemble.name.startswith("e-")
    assert ensemble.name in done.stdout
    files = {path.name for path in ensemble.iterdir()}
    assert {"pipeline_config.yaml", "clustering_run_config.json", "ensemble_meta.json"} <= files
    assert {
        f"distances_{m}.{e}" for m in ("perm_invariant_hamming", "pair_disagreement") for e in ("npz", "png")
    } <= files
    assert "distances_matching_dist.npz" not in files
    for word in ("wall", "CPU", "peak"):
        assert word in done.stdout + done.stderr
    with np.load(ensemble / "ensemble_merge_array.npz") as data:
        merges = data["merge_array"]
    assert merges.shape == (2, 11, 12)
    with np.load(ensemble / "distances_pair_disagreement.npz") as data:
        assert data["distances"].shape == (11, 2, 2)
    seeds = set()
    for run in runs:
        assert {"clustering_run_config.json", "history.zip", "plots", "metrics.jsonl"} <= {
            p.name for p in run.iterdir()
        }
        written = json.loads((run / "clustering_run_config.json").read_text())
        assert written["ensemble_id"] == ensemble.name
        assert len(written["merge_config"]) == 7
        seeds.add((written["dataset_seed"], written["seed"]))
        assert len(MergeHistory.read(run / "history.zip")) == 11
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
    assert seeds == {(0, 0), (1, 1)}
