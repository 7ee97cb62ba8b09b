"""The command on a run, an ensemble, a harvest with a mapping, and a matrix; and what it says to what it cannot use."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus import agreement_along_iterations, cut_members, find_consensus
from spd.clustering.consensus.stable_groups_file import write_stable_groups
from spd.clustering.groups import find_groups
from spd.clustering.harvest.saved import SavedHarvest, save_harvest
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.sources import open_source
from spd.clustering.report.text import Selection, describe_groups
from spd.clustering.scripts.make_report import main
from spd.clustering.storage import EnsemblePaths, HarvestPaths
from tests.planted import planted

MERGE = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})


def _run(directory: Path, config: ClusteringRunConfig) -> Path:
    memberships = open_source(config).memberships(config)
    history = merge_iteration(config.merge_config, memberships, memberships.labels, rng=np.random.default_rng(0))
    directory.mkdir(parents=True, exist_ok=True)
    history.save(directory / "history.zip")
    config.to_file(directory / "clustering_run_config.json")
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=1000, merge_config=MERGE)
    return _run(tmp_path_factory.mktemp("runs") / "c-0000000a", config)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("matrix")
    rng = np.random.default_rng(0)
    causes = np.repeat(np.arange(5), 4)
    values = planted(rng, 800, causes, [0.1] * 5, 0.9) * rng.uniform(0.2, 1, (800, 20))
    np.save(root / "mine.npy", values.astype(np.float32))
    config = ClusteringRunConfig(activations_path=str(root / "mine.npy"), batch_size=800, merge_config=MERGE)
    return _run(root / "c-0000000b", config)


def _report(directory: Path) -> dict:
    return json.loads((directory / "report.json").read_text())


def test_a_run_of_a_model(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--report-samples", "2000", "--effects", "3"]) == 0
    assert capsys.readouterr().out == f"open {run / 'report.html'}\n"
    content = _report(run)
    assert {"schema_version", "model", "data", "settings", "groups"} <= set(content)
    assert (content["schema_version"], content["model"]["name"]) == (1, "example:resid_mlp2")
    assert content["data"]["n_samples"] == 2000
    assert content["summary"]["n_groups"] == 40
    assert content["summary"]["n_dead"] == 4 * 56 - content["summary"]["n_alive"]
    assert sum("effect" in group for group in content["groups"]) == 3
    assert all(group["tokens"][0]["share"] > 0.7 for group in content["groups"])
    assert next(iter(content["model"]["modules"])) == "layers.0.mlp_in"
    assert (run / "groups.csv").read_text().count("\n") == 41
    assert len(json.loads((run / "groups_mapping.json").read_text())["clusters"]) == content["summary"]["n_alive"]


def test_labels_and_another_output(run: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"cluster_id": 3, "explanation": "the third"}\n{"cluster_id": 400, "explanation": "none"}\n')
    output = tmp_path / "elsewhere" / "page.html"
    flags = ["--report-samples", "500", "--effects", "0", "--labels", str(labels), "--output", str(output)]
    assert main([str(run), *flags]) == 0
    content = json.loads(output.with_suffix(".json").read_text())
    assert {group["id"]: group["label"] for group in content["groups"]}[3] == "the third"
    assert content["missing"] == ["1 of 2 labels of labels.jsonl name no group of this report: 400."]
    assert "the third" in (output.parent / "groups.csv").read_text()


def test_a_matrix_with_texts(matrix: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"text {i}" for i in range(800)))
    assert main([str(matrix), "--samples", str(texts)]) == 0
    content = _report(matrix)
    assert content["data"]["kind"] == "matrix"
    assert content["data"]["texts"][7] == "text 7"
    values = np.load(matrix.parent / "mine.npy")
    largest = content["groups"][0]
    members = [int(member["label"].split(":")[1]) for member in largest["members"]]
    strength = values[:, members].mean(axis=1)
    assert largest["contexts"][0]["sample"] == int(np.argmax(strength))
    assert largest["contexts"][0]["strength"] == pytest.approx(strength.max(), abs=1e-3)
    assert largest["firing_rate"] == pytest.approx((values[:, members] > 0.01).any(axis=1).mean(), rel=1e-5)


def test_a_run_with_groups(matrix: Path, tmp_path: Path) -> None:
    copy = tmp_path / "c-0000000c"
    shutil.copytree(matrix, copy)
    config = ClusteringRunConfig.from_file(copy / "clustering_run_config.json")
    memberships = open_source(config).memberships(config)
    groups = find_groups(memberships, control=False)
    groups.save(copy / "groups.json")
    assert main([str(copy)]) == 0
    content = _report(copy)
    assert [(group["id"], group["size"]) for group in content["groups"]] == list(enumerate(groups.sizes.tolist()))
    assert content["settings"]["firing_rule"] == "posterior above 1/2"
    for group in content["groups"]:
        fires = groups.firing(group["id"], memberships) > 0.5
        assert group["firing_rate"] == pytest.approx(fires.mean(), abs=2 / len(fires))
        assert group["confidence"] == pytest.approx(groups.confidence[groups.members(group["id"])].mean(), abs=1e-3)


def test_an_ensemble(matrix: Path, tmp_path: Path) -> None:
    config = ClusteringRunConfig.from_file(matrix / "clustering_run_config.json")
    memberships = open_source(config).memberships(config)
    histories, runs = [], [f"c-0000000{i}" for i in range(3)]
    for seed, name in enumerate(runs):
        drawn = memberships.resample_rows(np.random.default_rng(seed))
        history = merge_iteration(MERGE, drawn, drawn.labels, rng=np.random.default_rng(seed))
        (tmp_path / "runs" / name).mkdir(parents=True)
        history.save(tmp_path / "runs" / name / "history.zip")
        histories.append(history)
    paths = EnsemblePaths("e-00000000", tmp_path / "ensembles" / "e-00000000")
    consensus = find_consensus(cut_members(histories), run_ids=runs)
    write_stable_groups(paths.stable_groups, consensus, agreement_along_iterations(histories), "e-00000000")
    config.to_file(paths.clustering_run_config)
    assert main([str(paths.directory)]) == 0
    content = _report(paths.directory)
    assert (content["settings"]["ensemble"], content["settings"]["n_members"]) == ("e-00000000", 3)
    assert {group["verdict"] for group in content["groups"]} <= {"core", "stable", "split", "uncertain", "alone"}
    assert [(group["id"], group["size"]) for group in content["groups"]] == [
        (index, len(inside)) for index, inside in enumerate(consensus.groups)
    ]
    for group in content["groups"]:
        inside = consensus.groups[group["id"]]
        assert group["confidence"] == pytest.approx(consensus.confidence[inside].mean(), abs=1e-3)
    assert content["agreement"]["mean"][-1] is not None
    assert len(content["merges"]) == len(memberships.labels) - 1
    (tmp_path / "runs" / runs[consensus.representative] / "history.zip").unlink()
    assert main([str(paths.directory)]) == 0
    assert "no reasons and no other cuts" in _report(paths.directory)["missing"][0]
    paths.stable_groups.unlink()
    paths.meta.write_text("{}")
    assert main([str(paths.directory)]) == 1


def test_fewer_samples_than_wanted_are_said(run: Path, matrix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.report.model_inputs.MAX_ENTRIES", 100)
    monkeypatch.setattr("spd.clustering.report.make.MAX_ENTRIES", 100)
    monkeypatch.setattr("spd.clustering.report.make._N_FIRST", 100)
    assert main([str(run), "--report-samples", "100000", "--effects", "0"]) == 0
    content = _report(run)
    assert 0 < content["data"]["n_samples"] < 100_000
    assert content["missing"][0].startswith(f"Measured on {content['data']['n_samples']:,} samples instead of 100,000")
    assert main([str(matrix)]) == 0
    content = _report(matrix)
    assert 0 < content["data"]["n_samples"] < 800
    assert content["missing"][0].startswith(f"Measured on {content['data']['n_samples']} samples instead of 800")


def test_a_harvest_with_a_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=300, merge_config=MERGE)
    memberships = open_source(config).memberships(config)
    paths = HarvestPaths("h-00000001", tmp_path / "h-00000001")
    paths.directory.mkdir()
    save_harvest(paths, config, memberships, 1.0)
    assert main([str(paths.directory)]) == 1
    assert "give a mapping" in capsys.readouterr().err
    mapping = tmp_path / "mine.json"
    chosen = dict.fromkeys(memberships.labels[:5], 3) | {memberships.labels[6]: None}
    mapping.write_text(json.dumps({"clusters": chosen}))
    assert main([str(paths.directory), "--mapping", str(mapping), "--report-samples", "200", "--effects", "1"]) == 0
    content = _report(paths.directory)
    assert [(group["id"], group["size"]) for group in content["groups"]] == [(3, 5), (4, 1)]
    assert content["settings"]["groups"] == "mapping mine.json"


def test_a_run_on_a_harvest_shows_contexts_of_the_harvests_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ClusteringRunConfig(
        model_path="example:lm_words", batch_size=4, n_tokens_per_seq=32, dataset_seed=3, merge_config=MERGE
    )
    memberships = open_source(config).memberships(config)
    paths = HarvestPaths("h-00000001", tmp_path / "h-00000001")
    paths.directory.mkdir()
    save_harvest(paths, config, memberships, 1.0)
    given = ClusteringRunConfig(activations_path=str(paths.directory), batch_size=1, merge_config=MERGE)
    of_harvest = SavedHarvest(paths).as_activations(given)
    assert of_harvest.harvest_model_path == "example:lm_words"
    run = _run(tmp_path / "c-0000000c", of_harvest)
    assert main([str(run), "--report-samples", "256", "--effects", "1"]) == 0
    content = _report(run)
    assert (content["data"]["kind"], content["data"]["seed"], content["missing"]) == ("language", 3, [])
    assert content["data"]["n_samples"] == 256
    assert content["groups"][0]["contexts"][0]["around"]
    assert describe_groups(run, selection=Selection(items=4))[0].contexts
    own = json.loads(paths.config.read_text())
    paths.config.write_text(json.dumps(own | {"model_path": str(tmp_path / "gone")}))
    assert main([str(run)]) == 0
    content = _report(run)
    assert (content["data"]["kind"], content["data"]["n_samples"]) == ("matrix", 128)
    assert "model of the harvest cannot be used" in content["missing"][0]
    assert "gone" in content["missing"][0]


def test_a_model_that_is_gone(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    config = json.loads((copy / "clustering_run_config.json").read_text())
    config["model_path"] = str(tmp_path / "gone")
    (copy / "clustering_run_config.json").write_text(json.dumps(config))
    assert main([str(copy)]) == 0
    assert "no contexts" in capsys.readouterr().err
    content = _report(copy)
    assert "gone" in content["missing"][0]
    assert content["summary"]["n_groups"] == 40
    assert content["groups"][0]["firing_rate"] is None
    (copy / "clustering_run_config.json").unlink()
    assert main([str(copy)]) == 0
    assert "clustering_run_config.json is missing" in _report(copy)["missing"][0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--report-samples", "0"], "--report-samples: must be at least 1, got 0"),
        (["--effects", "-1"], "--effects: must be at least 0, got -1"),
        (["--labels", "no-such.jsonl"], "no-such.jsonl: no such file"),
        (["--mapping", "no-such.json"], "no-such.json: no such file"),
        (["--neuronpedia", "no-such.json"], "no-such.json: no such file"),
        (["--samples", "texts.txt"], "texts are for a matrix of one's own"),
    ],
)
def test_bad_flags(run: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str) -> None:
    assert main([str(run), *flags]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert expected in error


def test_directories_that_are_none(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory, expected in (
        (tmp_path / "none", "does not exist"),
        (Path(__file__), "is a file"),
        (tmp_path, "holds none of history.zip, ensemble_meta.json, metadata.json"),
    ):
        assert main([str(directory)]) == 1
        assert expected in capsys.readouterr().err
    (tmp_path / "clustering_run_config.json").write_text((run / "clustering_run_config.json").read_text())
    assert main([str(tmp_path)]) == 1
    assert "holds no history.zip" in capsys.readouterr().err
    (tmp_path / "history.zip").write_bytes(b"PK\x03\x04 not really")
    assert main([str(tmp_path)]) == 1
    assert "history.zip" in capsys.readouterr().err


def test_a_page_to_a_stream_has_nothing_beside_it(
    matrix: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "page"
    link.symlink_to("/dev/stdout")
    assert main([str(matrix), "--output", str(link)]) == 0
    assert capfd.readouterr().out.rstrip().endswith("</html>")
    assert list(tmp_path.iterdir()) == [link]


def test_where_nothing_can_be_written(matrix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(matrix), "--output", "/dev/null/report.html"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "error: /dev/null: cannot be written: /dev/null is not a directory"


def test_the_page_and_its_data_have_two_names(matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(matrix), "--output", str(tmp_path / "report.json")]) == 1
    assert "--output: is a page, such as report.html" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
