"""The groups that a run finds: saved with it, what its ensemble agrees on, and never those of another run."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.groups import Groups, find_groups
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.found_groups import read_found_groups, save_found_groups
from spd.clustering.pipeline.mapping import get_cluster_mapping
from spd.clustering.pipeline.member import harvest_run
from spd.clustering.pipeline.member_merge import MergePlace, merge_run
from spd.clustering.pipeline.run_state import is_finished
from spd.clustering.pipeline.sources import open_source
from spd.clustering.pipeline.stable_groups import stable_groups_are_current
from spd.clustering.scripts import calc_consensus
from spd.clustering.scripts import get_cluster_mapping as mapping_command
from spd.clustering.storage import RunPaths
from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_json
from tests.clustering.pipeline.place import Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the MDL is least at the last iteration"),
]

TRUTH = np.repeat(np.arange(4), 3)
MDL = "each member's own MDL minimum"
FOUND = "the groups found in each member"


def partition(clusters: dict[str, int | None]) -> set[frozenset[str]]:
    groups: dict[object, set[str]] = {}
    for label, cluster in clusters.items():
        groups.setdefault(label if cluster is None else cluster, set()).add(label)
    return {frozenset(group) for group in groups.values()}


PLANTED = partition({f"activations:{i}": int(group) for i, group in enumerate(TRUTH)})


def test_every_run_saves_the_groups_of_its_own_memberships(finished: Place) -> None:
    for run in finished.runs():
        config = ClusteringRunConfig.from_file(run.config)
        memberships = open_source(config).memberships(config)
        saved = Groups.read(run.groups, memberships=memberships)
        expected = find_groups(memberships, seed=config.seed)
        np.testing.assert_array_equal(saved.group_of, expected.group_of)
        np.testing.assert_allclose(saved.confidence, expected.confidence)
        assert saved.control == expected.control is not None
        assert partition(dict(zip(saved.labels, saved.group_of.tolist(), strict=True))) == PLANTED
        assert run.groups.name in read_json(run.manifest)["files"]


def test_the_ensemble_agrees_on_them_and_says_so(finished: Place, capsys: pytest.CaptureFixture[str]) -> None:
    paths = finished.ensemble
    content = read_json(paths.stable_groups)
    assert (content["cut_kind"], content["cut"]) == ("groups", FOUND)
    assert [member["n_merges"] for member in content["members"]] == [None, None]
    assert {frozenset(group["components"]) for group in content["stable_groups"]} == PLANTED
    assert partition(read_json(paths.consensus_mapping)["clusters"]) == PLANTED
    sources = read_json(paths.manifest("stable_groups"))["sources"]
    assert {f"{run.run_id}/groups.json" for run in finished.runs()} < set(sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPD_OUT_DIR", str(finished.directory / "out"))
        assert finished.status() == 0
    printed = capsys.readouterr().out
    assert f"stable groups of 2 members, cut at {FOUND}" in printed
    header, first = (line.split() for line in printed.splitlines()[2:4])
    assert header[5:11] == ["groups", "found", "by", "chance", "at", "MDL"]
    assert first[2:6] == ["done", "12", "11", "4"]
    log = paths.log.read_text()
    assert log.count("found 4 groups of two or more, 0 components are alone; where columns are shifted in time, ") == 2


@pytest.mark.slow
def test_without_them_the_ensemble_falls_back_with_one_warning(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.runs()[1].groups.unlink()
    flags = ["--pipeline-run-id", place.ensemble.ensemble_id]
    assert calc_consensus.main(flags) == 0
    output = capsys.readouterr()
    (warning,) = output.err.splitlines()
    assert "1 of 2 members have no groups.json (member 1)" in warning
    assert warning.endswith(f"their stable groups are those of {MDL} instead")
    assert f"cut at {MDL}" in output.out
    assert read_json(place.ensemble.stable_groups)["cut_kind"] == "mdl"
    assert stable_groups_are_current(place.ensemble)

    assert calc_consensus.main([*flags, "--cut", "mdl"]) == 0
    assert capsys.readouterr().err == ""
    assert calc_consensus.main([*flags, "--cut", "groups"]) == 1
    assert "(member 1): groups are found while a member is made" in capsys.readouterr().err
    with pytest.raises(MissingFileError, match="is not there, and groups are found while the memberships are at hand"):
        get_cluster_mapping(place.ensemble.directory, "groups", run_idx=1)


@pytest.mark.slow
def test_the_cut_that_was_asked_for_is_kept_and_groups_come_back(place: Place) -> None:
    flags = ["--pipeline-run-id", place.ensemble.ensemble_id]
    for cut, expected in (["mdl", MDL], ["groups", FOUND]):
        assert calc_consensus.main([*flags, "--cut", cut]) == 0
        place.ensemble.stable_groups_table.unlink()
        assert place.resume() == 0
        assert read_json(place.ensemble.stable_groups)["cut"] == expected
    kept = place.runs()[0].groups.read_bytes()
    place.runs()[0].groups.unlink()
    assert calc_consensus.main(flags) == 0
    assert read_json(place.ensemble.stable_groups)["cut"] == MDL
    place.runs()[0].groups.write_bytes(kept)
    assert not stable_groups_are_current(place.ensemble)
    assert place.resume() == 0
    assert read_json(place.ensemble.stable_groups)["cut"] == FOUND


@pytest.mark.slow
def test_a_run_of_an_older_version_stays_finished(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for run in place.runs():
        run.groups.unlink()
        run.manifest.unlink()
    place.ensemble.stable_groups.unlink()
    histories = [run.history.stat().st_mtime_ns for run in place.runs()]
    assert place.resume() == 0
    output = capsys.readouterr()
    assert "all 2 members are finished already" in output.err
    assert output.err.count("2 of 2 members have no groups.json (member 0, 1)") == 1
    assert [run.history.stat().st_mtime_ns for run in place.runs()] == histories
    assert not any(run.groups.exists() for run in place.runs())
    assert read_json(place.ensemble.stable_groups)["cut"] == MDL


def relabelled(content: dict) -> dict:
    rows = content["components"]
    return {**content, "components": [["other:0", *rows[0][1:]], *rows[1:]]}


def test_groups_of_another_run_are_refused_by_name(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = place.runs()
    history = MergeHistory.read(first.history)
    content = json.loads(first.groups.read_text())
    for damaged, error, problem in (
        (relabelled(content), SPDError, "belongs to another run: it has 12 components"),
        (json.loads(second.groups.read_text()), DamagedFileError, "is not the file that the run wrote"),
        ({**content, "joins": [[0, 99, 0.5]]}, DamagedFileError, "'joins' names"),
    ):
        first.groups.write_text(json.dumps(damaged))
        with pytest.raises(error, match=problem) as caught:
            read_found_groups(first, history)
        assert str(first.groups) in str(caught.value)
        assert calc_consensus.main(["--pipeline-run-id", place.ensemble.ensemble_id]) == 1
        assert str(first.groups) in capsys.readouterr().err
        assert place.status() == 0
        assert problem in capsys.readouterr().out


@pytest.fixture
def memberships() -> Memberships:
    rng = np.random.default_rng(0)
    x = (rng.random((300, 4)) < 0.2)[:, TRUTH] & (rng.random((300, 12)) < 0.8)
    return Memberships.from_activations(x, [f"m:{i}" for i in range(12)], None)


def test_what_is_no_groups_file_of_these_memberships_is_found_again(
    memberships: Memberships, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = RunPaths.at(tmp_path)
    expected = save_found_groups(paths, memberships)
    content, written = paths.groups.read_text(), paths.groups.stat().st_mtime_ns
    assert save_found_groups(paths, memberships).group_of.tolist() == expected.group_of.tolist()
    assert paths.groups.stat().st_mtime_ns == written
    assert not caplog.records
    find_groups(memberships.resample_rows(np.random.default_rng(1))).save(paths.groups)
    for other in (paths.groups.read_text(), content[: len(content) // 2], "[]"):
        caplog.clear()
        paths.groups.write_text(other)
        save_found_groups(paths, memberships)
        assert paths.groups.read_text() == content
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert str(paths.groups) in record.getMessage()


def test_a_stop_while_groups_are_found_keeps_the_merge(place: Place, tmp_path: Path) -> None:
    config = ClusteringRunConfig.from_file(place.runs()[0].config)
    paths = RunPaths("c-00000000", tmp_path / "runs" / "c-00000000")
    harvest_run(paths, config, open_source(config))
    told: list[str] = []

    def stop(text: str) -> None:
        if text.startswith("groups: "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_run(paths, config, MergePlace(report=stop))
    assert paths.history.is_file()
    assert not paths.groups.exists()
    assert not is_finished(paths)
    merged = paths.history.stat().st_mtime_ns
    merge_run(paths, config, MergePlace(report=told.append))
    assert is_finished(paths)
    assert paths.history.stat().st_mtime_ns == merged
    assert paths.groups.read_bytes() == place.runs()[0].groups.read_bytes()
    assert any(text.startswith("groups: joining groups, ") for text in told)


def test_the_mapping_of_a_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    run = place.runs()[0]
    groups = Groups.read(run.groups)
    found = get_cluster_mapping(run.directory, "groups")
    assert list(found) == ["clustering_run_id", "notes", "spd_run", "iteration", "clusters"]
    assert found["iteration"] is None
    assert found["notes"] == "the groups found"
    assert found["clusters"] == dict(zip(groups.labels, groups.group_of.tolist(), strict=True))
    six = get_cluster_mapping(run.directory, "groups", n_groups=6)
    assert partition(six["clusters"]) == partition(dict(zip(groups.labels, groups.cut(6).tolist(), strict=True)))
    assert len(partition(six["clusters"])) == 6
    assert six["notes"] == "the groups found, cut at 6 groups, nearest to 6"
    assert mapping_command.main([str(run.directory), "--iteration", "groups", "--groups", "6", "--notes", "n"]) == 0
    assert json.loads(capsys.readouterr().out) == {**six, "notes": "n"}
    assert mapping_command.main([str(run.directory), "--iteration", "best", "--groups", "6"]) == 1
    assert "a number of groups (6) goes with the iteration 'groups', got 'best'" in capsys.readouterr().err


def test_the_mapping_of_a_run_without_groups(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    run = place.runs()[0]
    run.groups.unlink()
    with pytest.raises(MissingFileError, match="must be made again to have them"):
        get_cluster_mapping(run.directory, "groups")
    of_history = get_cluster_mapping(run.directory, "groups", n_groups=5)
    assert of_history["clusters"] == get_cluster_mapping(run.directory, 6)["clusters"]
    assert of_history["iteration"] == 6
    assert of_history["notes"] == "the merge history's state with 5 groups, since groups.json is not there"


def test_the_mapping_of_an_ensemble(place: Place) -> None:
    directory = place.ensemble.directory
    stored = read_json(place.ensemble.consensus_mapping)
    found = get_cluster_mapping(directory, "groups")
    assert found == stored
    assert found["notes"] == f"consensus partition; members cut at {FOUND}"
    best = get_cluster_mapping(directory, "best")
    assert (best["n_iterations"], best["run_idx"], best["notes"]) == (None, None, "")
    assert calc_consensus.main(["--pipeline-run-id", place.ensemble.ensemble_id, "--cut", "mdl"]) == 0
    assert read_json(place.ensemble.consensus_mapping)["clusters"] == best["clusters"]
    assert get_cluster_mapping(directory, "best")["clusters"] == best["clusters"]
    assert partition(get_cluster_mapping(directory, "groups")["clusters"]) == partition(found["clusters"])
    member = get_cluster_mapping(directory, "groups", run_idx=1)
    assert (member["run_idx"], member["n_iterations"]) == (1, None)
    assert partition(member["clusters"]) == PLANTED
    two = get_cluster_mapping(directory, "groups", n_groups=2)
    assert len(partition(two["clusters"])) <= len(partition(found["clusters"]))
    assert two["notes"].endswith(f"{FOUND}, the partition nearest to 2")
