"""Harvest once, merge many: the two commands, and an ensemble that shares a harvest."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_clustering_runs, register_clustering_run
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.config import member_config
from spd.clustering.pipeline.mapping import get_cluster_mapping
from spd.clustering.pipeline.shared_samples import SavedHarvestSource
from spd.clustering.pipeline.sources import ModelSource, open_source
from spd.clustering.scripts import calc_consensus, run_clustering, run_harvest, run_merge, run_pipeline
from spd.clustering.storage import EnsemblePaths, HarvestPaths, RunPaths
from tests.clustering.harvest import test_param_decomp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the MDL is least at the last iteration"),
]


def _config(directory: Path, **changes: object) -> Path:
    path = directory / f"config{len(list(directory.glob('config*')))}.yaml"
    merge = {"iters": 20, "merge_pair_sampling_kwargs": {"threshold": 0.0}}
    merge |= changes.pop("merge_config", {})  # type: ignore[operator]
    content = {"model_path": "example:resid_mlp2", "batch_size": 400, "merge_config": merge, **changes}
    path.write_text(yaml.safe_dump(content))
    return path


def _id(output: str) -> str:
    found = re.search(r"[ch]-[0-9a-f]{8}", output)
    assert found, output
    return found.group()


@pytest.fixture(scope="module")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a harvest."""
    place = tmp_path_factory.mktemp("harvested")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setenv("SPD_OUT_DIR", str(place / "out"))
        assert run_harvest.main(["--config", str(_config(place))]) == 0
        directory = HarvestPaths(_id(printed.getvalue())).directory
    assert directory.parent == place / "out" / "clustering" / "harvests"
    return directory


@pytest.fixture
def harvest(_made_once: Path, out_dir: Path) -> HarvestPaths:
    """A copy of it in the test's own SPD_OUT_DIR."""
    paths = HarvestPaths(_made_once.name)
    assert paths.directory.is_relative_to(out_dir)
    shutil.copytree(_made_once, paths.directory)
    return paths


def _merge(capsys: pytest.CaptureFixture[str], *arguments: object) -> RunPaths:
    assert run_merge.main([str(argument) for argument in arguments]) == 0
    return RunPaths(_id(capsys.readouterr().out))


def test_a_harvest_holds_what_it_should(harvest: HarvestPaths, tmp_path: Path) -> None:
    config = ClusteringRunConfig.from_file(harvest.config)
    assert config == ClusteringRunConfig.from_file(_config(tmp_path))
    saved, direct = Memberships.load(harvest.memberships), open_source(config).memberships(config)
    assert (saved.labels, saved.dead_labels) == (direct.labels, direct.dead_labels)
    assert (saved.to_scipy() != direct.to_scipy()).nnz == 0
    metadata = json.loads(harvest.metadata.read_text())
    assert metadata["n_samples"] == 400
    assert metadata["spd_run"] == "example:resid_mlp2"
    assert list(metadata["components"]) == saved.labels
    assert [entry["activation_sum"] for entry in metadata["components"].values()] == saved.counts.tolist()
    assert metadata["dead_components"] == saved.dead_labels


def test_merging_a_harvest_is_what_run_clustering_does(
    harvest: HarvestPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = _merge(capsys, "--harvest", harvest.harvest_id)
    assert run_clustering.main(["--config", str(_config(tmp_path))]) == 0
    direct = RunPaths(_id(capsys.readouterr().out))
    first, second = (MergeHistory.read(paths.history) for paths in (merged, direct))
    assert np.array_equal(first.selected_pairs, second.selected_pairs)
    assert first.labels == second.labels
    assert ClusteringRunConfig.from_file(merged.config) == ClusteringRunConfig.from_file(direct.config)


def test_a_config_says_how_to_merge(harvest: HarvestPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(tmp_path, merge_config={"iters": 5, "alpha": 3.0}, batch_size=7)
    run = _merge(capsys, "--harvest", harvest.directory, "--config", config, "--seed", 9, "--bootstrap")
    assert len(MergeHistory.read(run.history)) == 5
    written = ClusteringRunConfig.from_file(run.config)
    assert (written.merge_config.alpha, written.seed, written.batch_size) == (3.0, 9, 400)


def test_members_that_share_a_harvest_draw_samples_of_their_own(
    harvest: HarvestPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    ensemble = "e-0000abcd"
    register_clustering_run(ensemble, "c-00000001")
    first = _merge(capsys, "--harvest", harvest.harvest_id, "--pipeline-run-id", ensemble, "--idx-in-ensemble", 0)
    second = _merge(capsys, "--harvest", harvest.harvest_id, "--pipeline-run-id", ensemble)
    assert first.run_id == "c-00000001"
    assert get_clustering_runs(ensemble) == [(0, first.run_id), (1, second.run_id)]
    histories = [MergeHistory.read(paths.history) for paths in (first, second)]
    assert histories[0].labels == histories[1].labels
    assert histories[0].initial_mdl_loss_norm != histories[1].initial_mdl_loss_norm


def test_a_harvest_as_the_activations_of_a_pipeline(harvest: HarvestPaths) -> None:
    config = ClusteringRunConfig(activations_path=str(harvest.directory), batch_size=400)
    saved = Memberships.load(harvest.memberships)
    source = open_source(config)
    assert (source.memberships(config).to_scipy() != saved.to_scipy()).nnz == 0
    members = [source.memberships(member_config(config, "e-0000abcd", idx)) for idx in range(2)]
    for idx, member in enumerate(members):
        expected = saved.resample_rows(np.random.default_rng(idx))
        assert (member.to_scipy() != expected.to_scipy()).nnz == 0
    assert (members[0].to_scipy() != members[1].to_scipy()).nnz > 0


def test_bootstrap_without_an_ensemble(harvest: HarvestPaths) -> None:
    saved = SavedHarvest(harvest)
    drawn = SavedHarvestSource(saved, bootstrap=True).memberships(saved.config.replaced(dataset_seed=4))
    expected = Memberships.load(harvest.memberships).resample_rows(np.random.default_rng(4))
    assert (drawn.to_scipy() != expected.to_scipy()).nnz == 0


@pytest.mark.parametrize("is_older", [False, True])
def test_a_harvest_of_another_tool(
    tmp_path: Path, out_dir: Path, capsys: pytest.CaptureFixture[str], is_older: bool
) -> None:
    theirs = test_param_decomp
    older = {"metadata": {"n_samples": 4, "n_components": 3, "labels": theirs.LABELS}, "config": None}
    theirs.write(HarvestPaths("ch-0123abcd").directory, **(older if is_older else {}))  # type: ignore[arg-type]
    config = tmp_path / "config.yaml"
    content = {"activations_path": str(HarvestPaths("ch-0123abcd").directory), "batch_size": 9}
    config.write_text(yaml.safe_dump(content | {"merge_config": {"alpha": 3.0}}))
    for arguments, alpha in (([], 1.0), (["--config", config], 3.0)):
        run = _merge(capsys, "--harvest", "ch-0123abcd", *arguments)
        history = MergeHistory.read(run.history)
        assert history.labels == theirs.LABELS
        written = json.loads(run.config.read_text())
        assert (written["batch_size"], written["merge_config"]["alpha"]) == (4, alpha)
        known = {} if is_older else {"activation_threshold": 0.25, "filter_dead_threshold": 0.125}
        names = ("activation_threshold", "filter_dead_threshold")
        assert {name: written["merge_config"][name] for name in names if name in written["merge_config"]} == known
        assert written.get("filter_dead_stat") == (None if is_older else "mean")
    assert run_clustering.main(["--config", str(config)]) == 0
    direct = RunPaths(_id(capsys.readouterr().out))
    assert json.loads(direct.config.read_text()) == written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge_config": {"activation_threshold": 0.5}}, "merge_config.activation_threshold: .* 0.01, .* 0.5"),
        ({"merge_config": {"filter_dead_threshold": 0.5}}, "merge_config.filter_dead_threshold: .* 0.001, .* 0.5"),
        ({"merge_config": {"module_name_filter": "layers.0"}}, "merge_config.module_name_filter: .* None, .*layers.0"),
        ({"model_path": "example:other"}, "is of 'example:resid_mlp2', the config of 'example:other'"),
    ],
)
def test_a_config_that_does_not_fit_the_harvest(
    harvest: HarvestPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict, message: str
) -> None:
    config = _config(tmp_path, **changes)
    assert run_merge.main(["--harvest", harvest.harvest_id, "--config", str(config)]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error


def test_a_harvest_that_is_not_there_or_not_complete(
    harvest: HarvestPaths, out_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["--harvest", "h-00000000"], "h-00000000 does not exist"),
        (["--harvest", "../x"], "is no id of a harvest"),
        (["--harvest", harvest.harvest_id, "--idx-in-ensemble", "1"], "give --pipeline-run-id"),
    ):
        assert run_merge.main(arguments) == 1
        assert message in capsys.readouterr().err
    indices = harvest.memberships / "part-00000.indices.npy"
    content = indices.read_bytes()
    indices.write_bytes(content[: len(content) // 2])
    assert run_merge.main(["--harvest", harvest.harvest_id]) == 1
    assert re.search(r"part-00000\.indices\.npy: has [\d,]+ bytes, expected", capsys.readouterr().err)
    indices.write_bytes(content)
    drawn = Memberships.load(harvest.memberships).resample_rows(np.random.default_rng(0))
    drawn.save(harvest.directory / "drawn")
    shutil.rmtree(harvest.memberships)
    (harvest.directory / "drawn").rename(harvest.memberships)
    assert run_merge.main(["--harvest", harvest.harvest_id]) == 1
    assert "index.json: is not the file that was harvested" in capsys.readouterr().err
    harvest.metadata.unlink()
    assert run_merge.main(["--harvest", harvest.harvest_id]) == 1
    assert "is not complete" in capsys.readouterr().err
    assert not list((out_dir / "clustering" / "runs").glob("*/history.zip"))


def test_a_harvest_that_cannot_be_written_is_known_before_the_model_runs(
    tmp_path: Path, out_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(ModelSource, "memberships", never)
    (out_dir / "clustering").mkdir(parents=True)
    (out_dir / "clustering" / "harvests").touch()
    assert run_harvest.main(["--config", str(_config(tmp_path))]) == 1
    error = capsys.readouterr().err
    assert re.search(r"harvests/h-\w+/harvest_config.json: cannot be written: Not a directory", error)


def test_a_harvest_that_fails_leaves_no_directory(
    tmp_path: Path, out_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, merge_config={"filter_dead_threshold": 2.0})
    assert run_harvest.main(["--config", str(config)]) == 1
    assert "no component is alive" in capsys.readouterr().err
    assert not list((out_dir / "clustering" / "harvests").iterdir())


@pytest.mark.slow
def test_an_ensemble_that_has_no_config_of_its_own(harvest: HarvestPaths, capsys: pytest.CaptureFixture[str]) -> None:
    """Members added one by one, by run_merge: they can be compared, resumed, and mapped."""
    ensemble = EnsemblePaths("e-0000abce")
    runs = [_merge(capsys, "--harvest", harvest.harvest_id, "--pipeline-run-id", ensemble.id) for _ in range(2)]
    assert calc_consensus.main(["--pipeline-run-id", ensemble.id]) == 0
    mapping = json.loads(ensemble.consensus_mapping.read_text())
    assert mapping["spd_run"] == "example:resid_mlp2"
    assert run_pipeline.main(["--resume", ensemble.id, "--local"]) == 0
    assert ensemble.distances("perm_invariant_hamming").is_file()
    assert get_cluster_mapping(ensemble.directory, "groups", notes=mapping["notes"]) == mapping
    shutil.rmtree(runs[1].directory)
    capsys.readouterr()
    assert run_pipeline.main(["--resume", ensemble.id, "--local"]) == 1
    assert "member 1: is not finished, and was added by a command of its own" in capsys.readouterr().err
