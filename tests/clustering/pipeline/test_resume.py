"""That a file is there does not say that it is whole, or of today's members: what --resume makes again and refuses."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import MERGE_ARRAY, distances_are_current, product_state
from spd.clustering.pipeline.mapping import get_cluster_mapping
from spd.clustering.pipeline.report_step import report_state
from spd.clustering.pipeline.run_record import is_whole
from spd.clustering.pipeline.stable_groups import stable_groups_are_current
from spd.clustering.report.make import files_beside
from spd.clustering.scripts import calc_consensus, calc_distances, make_report, run_clustering
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import SPDError
from spd.files.checked import read_npz
from tests.clustering.pipeline.place import METHOD, Place, start, write_activations, write_inputs

pytestmark = pytest.mark.filterwarnings("ignore:the MDL is least at the last iteration")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [cut_short, empty, change_a_byte, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_to_a_derived_file_is_noticed(place: Place, damage: Callable[[Path], None]) -> None:
    paths = place.ensemble
    products = {
        paths.merge_array: lambda: product_state(paths, MERGE_ARRAY) == "current",
        paths.meta: lambda: product_state(paths, MERGE_ARRAY) == "current",
        paths.distances(METHOD): lambda: distances_are_current(paths, METHOD),
        paths.distances_figure(METHOD): lambda: distances_are_current(paths, METHOD),
        **{
            path: lambda: stable_groups_are_current(paths)
            for path in (paths.stable_groups, paths.stable_groups_table, paths.consensus_mapping)
        },
        **{run.groups: lambda: stable_groups_are_current(paths) for run in place.runs()},
        **{path: lambda: stable_groups_are_current(paths) for path in paths.plots.glob("*.png")},
        paths.manifest("stable_groups"): lambda: stable_groups_are_current(paths),
        **{
            path: lambda: report_state(paths) == "current"
            for path in (paths.report, *files_beside(paths.report), paths.manifest("report"))
        },
    }
    assert len(products) == 17
    for path, is_current in products.items():
        assert is_current(), path
        content = path.read_bytes()
        damage(path)
        assert not is_current(), path
        path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_to_a_member_is_noticed(place: Place, damage: Callable[[Path], None]) -> None:
    for name in ("history.zip", "groups.json", "plots/costs.png", "made_from.json"):
        if (damage, name) == (Path.unlink, "made_from.json"):
            continue  # so older versions left it
        run = place.runs()[0]
        kept = place.directory / "kept"
        shutil.copytree(run.directory, kept)
        assert is_whole(run, None, None)
        damage(run.directory / name)
        if name == "made_from.json" and damage is change_a_byte:
            (run.directory / name).write_text("[]")
        assert not is_whole(run, None, None), name
        shutil.rmtree(run.directory)
        kept.rename(run.directory)


@pytest.mark.slow
def test_what_is_damaged_is_made_again_and_the_same(
    place: Place, finished: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, second), paths = place.runs(), place.ensemble
    cut_short(first.history)
    (second.plots / "activations.png").unlink()
    cut_short(second.groups)
    second_history = second.history.read_bytes()
    cut_short(paths.merge_array)
    empty(paths.stable_groups)
    paths.stable_groups_table.unlink()
    paths.distances_figure(METHOD).unlink()
    assert place.status() == 0
    printed = capsys.readouterr().out
    assert re.search(rf"{first.run_id}\s+damaged", printed)
    assert "stable groups: of other members than now, or damaged" in printed
    assert place.resume() == 0
    output = capsys.readouterr()
    assert "history.zip.damaged-1" in output.err
    assert f"{second.directory}: groups.json, plots/activations.png is lost or damaged: made again" in output.err
    assert (second.directory / "groups.json.damaged-1").exists()
    assert output.out.count(" done ") == 2
    assert place.results() == finished.results()
    assert second.history.read_bytes() == second_history
    assert not second.checkpoint.exists()
    for path in (second.plots / "activations.png", paths.distances_figure(METHOD)):
        assert path.stat().st_size > 5000
    assert all(is_whole(run, None, None) for run in place.runs())


@pytest.mark.slow
def test_a_directory_that_is_gone(place: Place, finished: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first, run = place.runs()
    shutil.rmtree(run.directory)
    empty(first.config)
    empty(first.manifest)
    assert place.status() == 0
    printed = capsys.readouterr().out
    assert re.search(rf"{run.run_id}\s+damaged\s+its directory is gone: --resume makes it again", printed)
    assert f"{METHOD}  of other members than now" in printed
    assert place.resume() == 0
    assert place.results() == finished.results()


def test_other_data_is_refused(place: Place, finished: Place, capsys: pytest.CaptureFixture[str]) -> None:
    write_activations(finished.activations, seed=1)
    place.runs()[0].history.unlink()
    assert place.resume() == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{place.runs()[1].directory}: was made from other data: activations.npy has another content" in error
    assert not place.runs()[0].history.exists()


@pytest.mark.slow
def test_other_data_for_all_members_leaves_nothing_of_the_former(place: Place, finished: Place) -> None:
    """Every history is deleted: all members are made of the new matrix, and so is what is derived from them."""
    write_activations(finished.activations, seed=1)
    for run in place.runs():
        run.history.unlink()
    assert place.resume() == 0
    found, former = place.results(), finished.results()
    for name in ("merges", "merge_array", "distances", "stable_groups"):
        assert found[name] != former[name], name
    histories = [MergeHistory.read(run.history) for run in place.runs()]
    assert [len(history) for history in histories] == [len(merges) for merges in found["merges"]]
    assert stable_groups_are_current(place.ensemble)


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        ("clustering_run_config.json", "batch_size", 200, "batch_size: 300, now 200"),
        ("clustering_run_config.json", "merge_config.alpha", 2.0, "merge_config.alpha: 1.0, now 2.0"),
        ("pipeline_config.yaml", "n_runs", 3, "n_runs is 3, but the ensemble was started with 2 members"),
    ],
)
def test_an_edited_config_is_refused(
    place: Place, file: str, key: str, value: float, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place.ensemble.directory / file
    content = yaml.safe_load(path.read_text())
    section, _, name = key.rpartition(".")
    (content[section] if section else content)[name] = value
    path.write_text(json.dumps(content))
    place.runs()[0].history.unlink()
    assert place.resume() == 1
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not place.runs()[0].history.exists()


@pytest.mark.parametrize("damage", [cut_short, empty, Path.unlink], ids=lambda damage: damage.__name__)
def test_the_config_of_a_run_is_written_again(place: Place, damage: Callable[[Path], None]) -> None:
    run = place.runs()[0]
    content = run.config.read_bytes()
    damage(run.config)
    assert is_whole(run, None, None)
    assert run.config.read_bytes() == content


def test_an_edited_config_of_a_run_is_refused(place: Place) -> None:
    run = place.runs()[0]
    run.config.write_text(run.config.read_text().replace('"batch_size": 300', '"batch_size": 200'))
    with pytest.raises(SPDError, match=r"was edited after the run was made \(batch_size: 300, now 200\): put it back"):
        is_whole(run, None, None)


def test_no_report_of_members_made_again_since(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = place.runs()
    content = first.history.read_bytes()
    assert content != second.history.read_bytes()
    second.history.write_bytes(content)
    assert make_report.main([str(place.ensemble.directory)]) == 1
    assert "of other members than now" in capsys.readouterr().err
    place.ensemble.stable_groups.unlink()
    place.ensemble.manifest("stable_groups").unlink()
    place.ensemble.meta.unlink()
    assert make_report.main([str(place.ensemble.directory)]) == 1
    assert "is an ensemble without stable_groups.json" in capsys.readouterr().err


def test_memberships_of_unknown_data_are_not_taken_up(place: Place) -> None:
    run = place.runs()[0]
    run.history.unlink()
    run.manifest.unlink()
    Memberships.from_activations(np.ones((4, 2), bool), ["a:0", "a:1"], None).save(run.checkpoint_memberships)
    assert not is_whole(run, None, None)
    assert not run.checkpoint.exists()


def test_a_config_that_changes_no_result_may_change(place: Place) -> None:
    run = place.runs()[0]
    config = ClusteringRunConfig.from_file(run.config)
    changes = {"logging_intervals": {"stat": 5}, "wandb_project": "mine", "merge_options": {"memory_limit_gb": 3.0}}
    assert is_whole(run, config.replaced(**changes), None)


def test_a_finished_member_asked_for_with_another_config(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((place.directory / "run.json").read_text())
    (place.directory / "other.json").write_text(json.dumps({**config, "seed": 7}))
    flags = ["--pipeline-run-id", place.ensemble.ensemble_id, "--idx-in-ensemble", "0"]
    assert run_clustering.main(["--config", str(place.directory / "other.json"), *flags]) == 1
    assert "was made with another config (seed: 0, now 7)" in capsys.readouterr().err


@pytest.mark.slow
def test_directories_of_older_versions_go_on_working(place: Place, finished: Place) -> None:
    """They have no manifests: members are read and kept, what is derived from them is made again."""
    shutil.rmtree(place.ensemble.directory / "made_from")
    for run in place.runs():
        run.manifest.unlink()
    histories = [run.history.stat().st_mtime_ns for run in place.runs()]
    assert place.status() == 0
    assert (
        get_cluster_mapping(place.ensemble.directory, "best")["clusters"] == finished.results()["mapping"]["clusters"]
    )
    assert place.resume() == 0
    assert [run.history.stat().st_mtime_ns for run in place.runs()] == histories
    assert place.results() == finished.results()
    assert stable_groups_are_current(place.ensemble)


@pytest.mark.slow
def test_an_interrupted_run_of_an_older_version_goes_on(place: Place, finished: Place) -> None:
    run = place.runs()[0]
    run.manifest.unlink()
    run.history.unlink()
    run.checkpoint.mkdir()
    assert place.resume() == 0
    assert place.results() == finished.results()


@pytest.mark.slow
def test_the_settings_of_stable_groups_are_kept(place: Place) -> None:
    ensemble_id = place.ensemble.ensemble_id
    assert calc_consensus.main(["--pipeline-run-id", ensemble_id, "--iteration", "3", "--threshold", "0.8"]) == 0
    place.ensemble.stable_groups_table.unlink()
    assert place.resume() == 0
    content = json.loads(place.ensemble.stable_groups.read_text())
    assert (content["cut"], content["threshold"]) == ("iteration 3", 0.8)


def test_a_mapping_is_never_of_former_members(place: Place) -> None:
    assert get_cluster_mapping(place.ensemble.directory, "best")["run_idx"] is None
    first, second = (run.history for run in place.runs())
    first.write_bytes(second.read_bytes())
    with pytest.raises(SPDError, match=r"is of other members than now, or damaged; make it by .*calc_consensus"):
        get_cluster_mapping(place.ensemble.directory, "best")


def test_an_ensemble_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(tmp_path, n_runs=1)
    place = start(tmp_path, monkeypatch)
    (run,) = place.runs()
    for iteration in (3, "best"):
        mapping = get_cluster_mapping(place.ensemble.directory, iteration)
        assert mapping["clusters"] == get_cluster_mapping(run.directory, iteration)["clusters"]
        assert (mapping["ensemble_id"], mapping["run_idx"]) == (place.ensemble.ensemble_id, None)
    assert RunPaths.at(run.directory).history == run.history
    report = json.loads(place.ensemble.report.with_suffix(".json").read_text())
    assert (report["settings"]["run"], report["data"]["n_samples"]) == (run.run_id, 300)
    assert report_state(place.ensemble) == "current"
    assert not (run.directory / "report.html").exists()


def test_an_ensemble_that_no_registry_knows(place: Place) -> None:
    """As another program leaves it: its members are known by the paths of their histories only."""
    paths, runs = place.ensemble, place.runs()
    expected = read_npz(paths.distances(METHOD))["distances"]
    meta = {name: value for name, value in json.loads(paths.meta.read_text()).items() if "members" not in name}
    paths.meta.write_text(
        json.dumps({**meta, "origin_paths": [f"/elsewhere/{run.run_id}/history.zip" for run in runs]})
    )
    for gone in (paths.registry, paths.distances(METHOD), paths.stable_groups, paths.clustering_run_config):
        gone.unlink()
    shutil.rmtree(paths.directory / "made_from")
    for run in runs:
        run.config.write_text('{"of": "another form"}')
    output = paths.root / "output"
    arguments = ["--pipeline-run-id", paths.ensemble_id, "--output", str(output)]
    assert calc_distances.main([*arguments, "--distances-method", METHOD]) == 0
    np.testing.assert_array_equal(read_npz(output / paths.distances(METHOD).name)["distances"], expected)
    assert calc_consensus.main(arguments) == 0
    assert json.loads(paths.meta.read_text()).keys() == {*meta, "origin_paths"}, "theirs as it was"
    assert get_cluster_mapping(paths.directory, 3, run_idx=1)["clusters"]
    assert get_cluster_mapping(paths.directory, "best")["clusters"]


def test_an_ensemble_of_another_tool(golden: Path, out_dir: Path) -> None:
    shutil.copytree(golden / "expected" / "harvest_split" / "clustering", out_dir / "clustering")
    paths = EnsemblePaths("e-4d3c2b1a")
    assert calc_distances.main(["--pipeline-run-id", paths.ensemble_id, "--distances-method", METHOD]) == 0
    assert calc_consensus.main(["--pipeline-run-id", paths.ensemble_id, "--iteration", "100"]) == 0
    for run_idx in (None, 2):
        assert get_cluster_mapping(paths.directory, 100, run_idx=run_idx)["clusters"]
