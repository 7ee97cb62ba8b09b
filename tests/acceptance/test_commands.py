"""The commands, on an output directory that goodfire-ai/spd wrote and on a matrix of the user's own."""

import json
import re
import shutil
import stat
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_clustering_runs, register_clustering_run
from spd.clustering.harvest.from_file import read_activations
from spd.clustering.merge_history import MergeHistory
from spd.clustering.scripts import calc_distances, get_cluster_mapping, run_clustering, run_pipeline
from spd.settings import REPO_ROOT
from tests.clustering.scripts.commands import Command, Done, run_all

ENSEMBLE = "e-4a70d619"
MEMBERS = ["c-10ee4bda", "c-de2b8025", "c-b4fcbed1"]


OVERRIDES = "--wandb-project None --wandb-entity me --dataset-streaming"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            run_pipeline,
            "--config P --local --n-runs 3 --distances-methods pair_disagreement,matching_dist"
            " --local-clustering-parallel --local-calc-distances-parallel --track-resources-calc-distances "
            + OVERRIDES,
        ),
        (run_clustering, f"--config C --pipeline-run-id {ENSEMBLE} --idx-in-ensemble 2 {OVERRIDES}"),
        (calc_distances, f"--pipeline-run-id {ENSEMBLE} --distances-method matching_dist"),
        (get_cluster_mapping, "DIR --iteration -1 --run-idx 0 --notes words --output F"),
    ],
)
def test_flags(command: ModuleType, line: str) -> None:
    command.make_command_parser().parse_args(line.split())


def test_the_installed_command() -> None:
    scripts = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["spd-clustering"].partition(":")
    assert (module, function) == (run_pipeline.__name__, run_pipeline.main.__name__)


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
        "member": (mapping, [ensemble, "--iteration", "30", "--run-idx", "1", "--notes", "some words"]),
        "consensus": (mapping, [ensemble, "--iteration", "-1", "--output", str(reference / "consensus.json")]),
        "run": (mapping, [run, "--iteration", "-1"]),
    }
    listed = [Command(module, arguments, reference) for module, arguments in commands.values()]
    return dict(zip(commands, run_all(listed, tmp_path_factory.mktemp("cwd")), strict=True))


@pytest.mark.slow
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


@pytest.mark.slow
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


LABELS = [f"{module}:{i}" for module in ("layers.0.up", "layers.0.down", "layers.10.up") for i in range(4)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a matrix of the user's own, of three modules: dense.npy, with labels."""
    directory = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    matrix = (0.1 + 0.9 * rng.random((300, 12))) * (rng.random((300, 12)) < 0.3)
    matrix[1:, 3] = 0.0  # active on one sample: its maximum is 0.6, its mean 0.003 over 200 samples
    matrix[0, 3] = 0.6
    matrix[:, 4] = 0.0
    np.save(directory / "mine.npy", matrix.astype(np.float32))
    (directory / "mine.labels.txt").write_text("\n".join(LABELS))
    return directory


def write_run(path: Path, **values: object) -> ClusteringRunConfig:
    config = ClusteringRunConfig.model_validate({"activations_path": "mine.npy", "batch_size": 200, **values})
    config.to_file(path)
    return config


@pytest.fixture(scope="module")
def pipeline(place: Path) -> tuple[Path, Done]:
    """An ensemble, by the command itself."""
    write_run(place / "crc.json", merge_config={"iters": None, "filter_dead_threshold": 0.0})
    config = {"clustering_run_config_path": "crc.json", "n_runs": 5, "distances_methods": ["matching_dist"]}
    (place / "pipeline.yaml").write_text(yaml.safe_dump(config))
    arguments = "--config pipeline.yaml --local --n-runs 2 --wandb-project None --track-resources-calc-distances"
    methods = ["--distances-methods", "perm_invariant_hamming,pair_disagreement"]
    (done,) = run_all([Command("run_pipeline", [*arguments.split(), *methods], place / "out")], place)
    return place / "out" / "clustering", done


@pytest.mark.slow
def test_pipeline_layout(pipeline: tuple[Path, Done]) -> None:
    clustering, done = pipeline
    assert done.status == 0, done.stderr
    (ensemble,) = (clustering / "ensembles").iterdir()
    runs = sorted(path for path in (clustering / "runs").iterdir())
    assert len(runs) == 2
    assert re.fullmatch("e-[0-9a-f]{8}", ensemble.name)
    assert all(re.fullmatch("c-[0-9a-f]{8}", run.name) for run in runs)
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
        files = {path.name for path in run.iterdir()}
        assert {"clustering_run_config.json", "history.zip", "plots", "metrics.jsonl"} <= files
        written = json.loads((run / "clustering_run_config.json").read_text())
        assert written["ensemble_id"] == ensemble.name
        assert len(written["merge_config"]) == 7
        seeds.add((written["dataset_seed"], written["seed"]))
        assert len(MergeHistory.read(run / "history.zip")) == 11
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
    assert seeds == {(0, 0), (1, 1)}


@pytest.mark.slow
def test_a_run_takes_the_id_that_is_registered_for_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place / "registered"
    monkeypatch.setenv("SPD_OUT_DIR", str(out))
    registered = ["c-0000000a", "c-0000000b"]
    assert [register_clustering_run("e-0000000e", run_id) for run_id in registered] == [0, 1]
    write_run(place / "member.json")
    member = ["--config", "member.json", "--pipeline-run-id", "e-0000000e", "--idx-in-ensemble"]
    done = run_all([Command("run_clustering", [*member, index], out) for index in ("1", "7")], place)
    assert [one.status for one in done] == [0, 0], done
    runs = get_clustering_runs("e-0000000e")
    assert [index for index, _ in runs] == [0, 1, 2]
    assert [run_id for _, run_id in runs[:2]] == registered
    seeds = {}
    for directory in (out / "clustering" / "runs").iterdir():
        config = ClusteringRunConfig.from_file(directory / "clustering_run_config.json")
        seeds[directory.name] = (config.dataset_seed, config.seed, config.ensemble_id)
    assert seeds == {"c-0000000b": (1, 1, "e-0000000e"), runs[2][1]: (2, 2, "e-0000000e")}


@pytest.mark.parametrize(
    ("merge_config", "stat", "expected"),
    [
        ({}, "max", [label for label in LABELS if label != "layers.0.down:0"]),
        ({"filter_dead_threshold": 0.0}, "max", LABELS),
        ({"module_name_filter": "layers.0.", "filter_dead_threshold": -1.0}, "max", LABELS[:8]),
        ({"module_name_filter": ["layers.10.up"]}, "max", LABELS[8:]),
        ({"module_name_filter": "layers.0.up", "filter_dead_threshold": 0.6}, "max", LABELS[:4]),
        ({"module_name_filter": "layers.0.up", "filter_dead_threshold": 0.01}, "mean", LABELS[:3]),
    ],
)
def test_which_components_are_clustered(
    place: Path, merge_config: dict[str, object], stat: str, expected: list[str]
) -> None:
    """By module_name_filter (a prefix, or exact names), filter_dead_threshold and filter_dead_stat."""
    config = write_run(place / "filtered.json", merge_config=merge_config, filter_dead_stat=stat)
    memberships = read_activations(place / "mine.npy", config)
    assert memberships.labels == expected
    assert memberships.n_samples == config.batch_size
