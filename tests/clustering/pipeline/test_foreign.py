"""Directories of other tools, which no registry knows: what is asked of them, and that nothing in them changes."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus import read_stable_groups
from spd.clustering.consensus.mapping_form import checked_mapping
from spd.clustering.ensemble_registry import register_members
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import calc_distances, collect_ensemble, read_distances
from spd.clustering.pipeline.foreign import ForeignEnsemble, model_of, open_ensemble
from spd.clustering.pipeline.mapping import get_cluster_mapping
from spd.clustering.scripts import calc_consensus
from spd.clustering.scripts import calc_distances as distances_command
from spd.clustering.scripts import get_cluster_mapping as mapping_command
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError
from tests.clustering.foreign import FOUR, SEVEN, edit_meta, ensemble_of, write_foreign
from tests.clustering.histories import random_history

METHOD = "perm_invariant_hamming"
NAME = "example/param-decomp/p-761bc061"


def content_of(directory: Path) -> dict[str, str]:
    """Checksums of all files."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tell_model(clustering: Path, member: int, model_path: str | None, snapshot: str = "/gone/harvests/") -> None:
    """A run's merge_config.json, and the harvest that it names."""
    harvest = f"ch-0000000{member}"
    run = clustering / "runs" / f"c-0000000{member}"
    (run / "merge_config.json").write_text(json.dumps({"snapshot_path": f"{snapshot}{harvest}", "merge_config": FOUR}))
    (clustering / "harvests" / harvest).mkdir(parents=True)
    config = {"model_path": model_path, "activation_threshold": 0.1}
    (clustering / "harvests" / harvest / "harvest_config.json").write_text(json.dumps(config))


@pytest.fixture
def theirs(out_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """The directory of an ensemble of three members, with distances; nothing beside them changes by any test."""
    clustering = tmp_path / "theirs"
    directory = ensemble_of(clustering)
    for member, model_path in enumerate(["/data/runs/p-761bc061", "wandb:example/param-decomp/runs/p-761bc061"]):
        tell_model(clustering, member, model_path)
    (directory / f"distances_{METHOD}.npz").write_bytes(b"theirs")
    before = content_of(clustering)
    yield directory
    assert content_of(clustering) == before


def test_distances(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--pipeline-run-id", str(theirs), "--distances-method", METHOD]
    assert distances_command.main(arguments) == 1
    error = capsys.readouterr().err
    assert f"{theirs}: is an ensemble of another program, and nothing is written into it: give --output" in error
    output = tmp_path / "new" / "output"
    for _ in range(2):  # what is ours may be made again
        assert distances_command.main([*arguments, "--output", str(output)]) == 0
    histories = [MergeHistory.read(theirs.parent.parent / "runs" / f"c-0000000{m}" / "history.zip") for m in range(3)]
    found = read_distances(output / f"distances_{METHOD}.npz")
    assert found.shape == (8, 3, 3)
    assert len({history.c_components for history in histories}) == 1
    files = {path.name for path in output.iterdir()}
    assert files == {f"distances_{METHOD}.npz", f"distances_{METHOD}.png", "made_from"}


def test_stable_groups(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--pipeline-run-id", str(theirs), "--iteration", "7"]
    assert calc_consensus.main(arguments) == 1
    assert "give --output" in capsys.readouterr().err
    assert calc_consensus.main([*arguments, "--output", str(tmp_path / "output")]) == 0
    assert str(tmp_path / "output" / "stable_groups.json") in capsys.readouterr().out
    content = read_stable_groups(tmp_path / "output" / "stable_groups.json")
    assert [member["run_id"] for member in content["members"]] == [f"c-0000000{member}" for member in range(3)]
    mapping = checked_mapping(json.loads((tmp_path / "output" / "consensus_mapping.json").read_text()))
    assert (mapping["ensemble_id"], mapping["spd_run"]) == ("e-00000000", NAME)
    assert mapping["clusters"] == get_cluster_mapping(theirs, 7)["clusters"]
    # Their histories hold no costs, so the minimum is not known.
    assert calc_consensus.main([*arguments[:2], "--output", str(tmp_path / "none")]) == 1
    assert "member 0: this history holds no costs" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_mappings(theirs: Path) -> None:
    run = theirs.parent.parent / "runs" / "c-00000001"
    of_member, of_run = get_cluster_mapping(theirs, 5, run_idx=1, format="pd"), get_cluster_mapping(run, 5)
    assert list(of_member) == ["ensemble_id", "notes", "pd_run", "n_iterations", "run_idx", "clusters"]
    assert list(of_run) == ["clustering_run_id", "notes", "spd_run", "iteration", "clusters"]
    assert of_member["pd_run"] == of_run["spd_run"] == NAME
    assert of_member["clusters"] == {label: of_run["clusters"].get(label) for label in of_member["clusters"]}
    assert of_member["clusters"].keys() == set(
        json.loads((theirs / "ensemble_meta.json").read_text())["component_labels"]
    )
    with pytest.raises(SPDError, match="member 0: this history holds no costs"):
        get_cluster_mapping(theirs, "best")
    with pytest.raises(SPDError, match="has no member 3, its members are 0, 1, 2"):
        get_cluster_mapping(theirs, 5, run_idx=3)


def test_the_command_names_the_model_as_asked(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for format in ("spd", "pd"):
        assert mapping_command.main([str(theirs), "--iteration", "-1", "--format", format]) == 0
        found[format] = json.loads(capsys.readouterr().out)
    assert found["spd"].pop("spd_run") == found["pd"].pop("pd_run") == NAME
    assert found["spd"] == found["pd"]


def test_in_our_output_directory_theirs_stays_beside_ours(
    theirs: Path, out_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied there, it is known by its id; what we add lies in its directory, and replaces nothing."""
    shutil.copytree(theirs.parent.parent, out_dir / "clustering")
    paths = open_ensemble("e-00000000")
    assert isinstance(paths, ForeignEnsemble)
    assert paths.directory.is_relative_to(out_dir)
    before = content_of(out_dir)
    arguments = ["--pipeline-run-id", "e-00000000"]
    assert distances_command.main([*arguments, "--distances-method", METHOD]) == 1
    assert "is there already and is not known to be of this program" in capsys.readouterr().err
    assert content_of(out_dir) == before
    of_directory = calc_distances(open_ensemble(str(theirs)), METHOD, output=tmp_path / "of_directory")
    # The very same distances of theirs are kept; the figure is ours.
    shutil.copy(of_directory, paths.distances(METHOD))
    before = content_of(out_dir)
    for method in (METHOD, METHOD, "pair_disagreement", "pair_disagreement"):
        assert distances_command.main([*arguments, "--distances-method", method]) == 0
    for _ in range(2):
        assert calc_consensus.main([*arguments, "--iteration", "3"]) == 0
    after = content_of(out_dir)
    assert after.items() >= before.items()
    assert {Path(name).name for name in after.keys() - before.keys()} == {
        f"distances_{METHOD}.png",
        f"distances_{METHOD}.json",
        "distances_pair_disagreement.npz",
        "distances_pair_disagreement.png",
        "distances_pair_disagreement.json",
        "stable_groups.json",
        "stable_groups.csv",
        "consensus_mapping.json",
        "stability.png",
        "coassociation.png",
    }


def test_what_names_no_ensemble(theirs: Path) -> None:
    with pytest.raises(MissingFileError, match=r"runs: is no ensemble: it holds no ensemble_meta\.json"):
        open_ensemble(str(theirs.parent.parent / "runs"))
    with pytest.raises(ConfigError, match=r"is no id of an ensemble: expected e-.*, or the directory of an ensemble"):
        open_ensemble(str(theirs / "none"))
    assert type(open_ensemble("e-12345678")) is EnsemblePaths, "not made yet"


def test_a_file_of_another_origin_is_never_replaced(theirs: Path, tmp_path: Path) -> None:
    paths = open_ensemble(str(theirs))
    with pytest.raises(SPDError, match=rf"distances_{METHOD}\.npz: is there already and is not known to be of this"):
        calc_distances(paths, METHOD, output=theirs)
    (tmp_path / "file").touch()
    with pytest.raises(SPDError, match=r"file/below: cannot be written: .*file is not a directory"):
        calc_distances(paths, METHOD, output=tmp_path / "file" / "below")


def test_their_directory_is_written_into_where_that_is_asked_for(out_dir: Path, tmp_path: Path) -> None:
    directory = ensemble_of(tmp_path / "theirs")
    before = content_of(directory)
    written = calc_distances(open_ensemble(str(directory)), METHOD, output=directory)
    assert written.parent == directory
    assert content_of(directory).items() >= before.items()


def test_another_history_than_the_ensemble_was_made_from(out_dir: Path, tmp_path: Path) -> None:
    directory = ensemble_of(tmp_path / "theirs")
    path = tmp_path / "theirs" / "runs" / "c-00000001" / "history.zip"
    write_foreign(path, random_history(12, 8, seed=9, labels=MergeHistory.read(path).labels), FOUR)
    with pytest.raises(DamagedFileError, match="its groups of member 1 are not those of"):
        calc_distances(open_ensemble(str(directory)), METHOD, output=tmp_path / "output")
    with pytest.raises(DamagedFileError, match="its groups of member 1 are not those of"):
        get_cluster_mapping(directory, 3, run_idx=0)
    edit_meta(directory, origin_paths=["/gone/c-00000001", "/gone/c-00000001"])
    with pytest.raises(DamagedFileError, match="names a run twice"):
        calc_distances(open_ensemble(str(directory)), METHOD, output=tmp_path / "output")


def test_without_histories_a_member_is_read_from_the_merge_array(out_dir: Path, tmp_path: Path) -> None:
    directory = ensemble_of(tmp_path / "theirs")
    expected = get_cluster_mapping(directory, 3, run_idx=2)
    shutil.rmtree(tmp_path / "theirs" / "runs")
    assert get_cluster_mapping(directory, 3, run_idx=2) == expected
    with pytest.raises(MissingFileError, match="the history of c-00000000 is neither"):
        calc_distances(open_ensemble(str(directory)), METHOD, output=tmp_path / "output")


def test_a_copy_of_ours_without_its_registry(out_dir: Path, tmp_path: Path) -> None:
    """Known by the origins in its metadata; members keep their indices."""
    ours = EnsemblePaths("e-0000000a")
    run_ids = ["c-00000000", "c-00000001", "c-00000002"]
    register_members(ours.ensemble_id, run_ids)
    for seed in (0, 2):  # the second one was not finished
        random_history(10, 6, seed).save(RunPaths(run_ids[seed]).history)
    collect_ensemble(ours)
    expected = get_cluster_mapping(ours.directory, 4, run_idx=2)
    distances = read_distances(calc_distances(open_ensemble("e-0000000a"), METHOD))
    shutil.move(out_dir / "clustering", tmp_path / "copy")
    (tmp_path / "copy" / "ensemble_registry.db").unlink()
    directory = tmp_path / "copy" / "ensembles" / "e-0000000a"
    paths = open_ensemble(str(directory))
    assert isinstance(paths, ForeignEnsemble)
    assert [member.idx for member in paths.members] == [0, 2]
    assert get_cluster_mapping(directory, 4, run_idx=2) == expected
    again = read_distances(calc_distances(paths, METHOD, output=tmp_path / "output"))
    np.testing.assert_array_equal(again, distances)


def test_output_of_an_ensemble_of_ours(out_dir: Path, tmp_path: Path) -> None:
    ours = EnsemblePaths("e-0000000a")
    register_members(ours.ensemble_id, ["c-00000000", "c-00000001"])
    for seed in range(2):
        random_history(10, 6, seed).save(RunPaths(f"c-0000000{seed}").history)
    calc_distances(open_ensemble("e-0000000a"), METHOD, output=tmp_path / "output")
    assert not ours.directory.exists()
    assert (tmp_path / "output" / f"distances_{METHOD}.npz").is_file()


@pytest.mark.parametrize(
    ("told", "name", "problem"),
    [
        ([], None, "no config at hand names its model"),
        ([None], None, "no config at hand names its model"),
        (["/data/runs/p-1"], None, "known as /data/runs/p-1 only, not as wandb:"),
        (["wandb:a/b/runs/p-1"], "a/b/p-1", None),
        (["/data/runs/p-1", "wandb:a/b/p-1"], "a/b/p-1", None),
        (["/data/runs/p-2", "wandb:a/b/p-1"], None, "of several models, p-1, p-2"),
        (["wandb:a/b/p-1", "wandb:c/b/p-1"], None, "of several models, a/b/p-1, c/b/p-1"),
    ],
)
def test_the_model(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str | None],
    name: str | None,
    problem: str | None,
) -> None:
    monkeypatch.setattr(logging.getLogger("spd"), "handlers", [])  # of a command that a test has run
    monkeypatch.setattr(logging.getLogger("spd"), "propagate", True)
    runs = [tmp_path / "runs" / f"c-0000000{member}" for member in range(max(len(told), 1))]
    for run in runs:
        run.mkdir(parents=True)
    for member, model_path in enumerate(told):
        tell_model(tmp_path, member, model_path)
    assert model_of(runs) == name
    if problem is None:
        assert not caplog.messages
    else:
        assert caplog.messages[0].startswith(f"{runs[0]}: ")
        assert problem in caplog.messages[0]


def test_a_harvest_is_looked_for_as_it_is_given_first(tmp_path: Path) -> None:
    (tmp_path / "runs" / "c-00000000").mkdir(parents=True)
    tell_model(tmp_path, 0, "wandb:a/b/beside", f"{tmp_path}/given/")
    run = tmp_path / "runs" / "c-00000000"
    assert model_of([run]) == "a/b/beside"
    given = tmp_path / "given" / "ch-00000000"
    given.mkdir(parents=True)
    (given / "harvest_config.json").write_text('{"model_path": "wandb:a/b/given"}')
    assert model_of([run]) == "a/b/given"
    (given / "harvest_config.json").write_text("{")
    assert model_of([run]) is None, "not another harvest's"


def test_the_config_of_one_process(tmp_path: Path) -> None:
    """It has keys that ours lacks."""
    path = RunPaths.at(tmp_path).config
    theirs: dict[str, Any] = {"batch_size": 8, "n_samples": None, "merge_config": SEVEN | {"filter_dead_stat": "max"}}
    path.write_text(json.dumps({"model_path": "wandb:a/b/runs/s-1", **theirs}))
    assert model_of([tmp_path]) == "a/b/s-1"
    path.write_text(json.dumps({"model_path": "/data/s-1", **theirs}))
    assert model_of([tmp_path]) is None
    ClusteringRunConfig(model_path="some/where", batch_size=8).to_file(path)
    assert model_of([tmp_path]) == "some/where"
    path.write_text(json.dumps({"batch_size": 0}))
    assert model_of([tmp_path]) is None


def test_the_golden_ensemble(golden: Path, out_dir: Path, tmp_path: Path) -> None:
    clustering = golden / "expected" / "harvest_split" / "clustering"
    directory = clustering / "ensembles" / "e-4d3c2b1a"
    before = content_of(clustering)
    written = calc_distances(open_ensemble(str(directory)), METHOD, output=tmp_path)
    with np.load(directory / f"distances_{METHOD}.npz") as stored:
        np.testing.assert_array_equal(read_distances(written), stored["distances"])
    merges = np.load(directory / "ensemble_merge_array.npz")["merge_array"]
    labels = json.loads((directory / "ensemble_meta.json").read_text())["component_labels"]
    for member in range(3):
        mapping = get_cluster_mapping(directory, 60, run_idx=member)
        groups = merges[member, 60]
        sizes = np.bincount(groups)
        expected = {
            label: int(group) if sizes[group] > 1 else None for label, group in zip(labels, groups, strict=True)
        }
        assert mapping["clusters"] == expected
        assert mapping["spd_run"] == NAME
    assert content_of(clustering) == before


@pytest.mark.parametrize(("run", "format"), [("c-5b21e0aa", "spd"), ("c-9a0d1e22", "pd")])
def test_the_golden_mappings(golden: Path, run: str, format: Any) -> None:
    directory = golden / "expected" / "harvest_split" / "clustering" / "runs" / run
    stored = json.loads((directory / "cluster_mapping.json").read_text())
    checked_mapping(stored)
    assert get_cluster_mapping(directory, stored["iteration"], notes=stored["notes"], format=format) == stored


@pytest.mark.parametrize(("run", "name"), [("c-77e4f3b9", "example/spd/s-0a1b2c3d"), ("c-9a0d1e23", None)])
def test_the_golden_models(golden: Path, run: str, name: str | None) -> None:
    assert model_of([golden / "expected" / "harvest_split" / "clustering" / "runs" / run]) == name


def test_the_golden_mappings_at_the_smallest_mdl(golden: Path, tmp_path: Path) -> None:
    """By label; a copy of the history stands in for a run's directory."""
    paths = sorted((golden / "expected").glob("*/cluster_mapping_best.json"))
    assert len(paths) == 7
    for path in paths:
        run = tmp_path / path.parent.name
        run.mkdir()
        shutil.copy(path.parent / "history_greedy_thr0.01_alpha1.0.zip", run / "history.zip")
        stored = json.loads(path.read_text())
        mapping = get_cluster_mapping(run, stored["iteration"], format="pd")
        assert mapping["iteration"] == stored["iteration"]
        assert mapping["clusters"] == stored["clusters"]
        assert mapping["pd_run"] is None
