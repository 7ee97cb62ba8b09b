"""Histories and ensembles of other tools: what they do not tell stays unknown, and nothing is taken for another."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import (
    MergeHistory,
    MergeHistoryEnsemble,
    origin_histories,
    read_foreign_ensemble,
)
from spd.errors import DamagedFileError, MissingFileError, SPDError
from tests.clustering.foreign import EIGHT, FOUR, SEVEN, edit_meta, ensemble_of, write_foreign
from tests.clustering.histories import assert_same, random_history


@pytest.mark.parametrize("dtype", ["int16", "int32"])
@pytest.mark.parametrize("n_padding", [0, 3])
def test_the_merges_are_read(tmp_path: Path, dtype: str, n_padding: int) -> None:
    history = random_history(12, 8)
    write_foreign(tmp_path / "history.zip", history, FOUR, dtype, n_padding)
    found = MergeHistory.read(tmp_path / "history.zip")
    assert np.array_equal(found.component_merges, history.component_merges)
    assert np.array_equal(found.merges.group_idxs, history.merges.group_idxs)
    assert np.array_equal(np.sort(found.selected_pairs), np.sort(history.selected_pairs))
    with pytest.raises(SPDError, match="holds no costs"):
        found.n_merges_at("best")
    assert not found.is_cut_too_early


@pytest.mark.parametrize("config", [FOUR, SEVEN, EIGHT])
def test_what_a_config_does_not_tell_is_unknown(tmp_path: Path, config: dict[str, Any]) -> None:
    write_foreign(tmp_path / "history.zip", random_history(12, 8), config)
    found = MergeHistory.read(tmp_path / "history.zip")
    unknown = sorted(EIGHT.keys() - FOUR.keys()) if config is FOUR else []
    summary = found.summary()
    assert summary["merge_config"] == found.metadata()["merge_config"] == config
    assert summary["unknown_settings"] == sorted(found.merge_config.unknown) == unknown
    assert found.filter_dead_stat == config.get("filter_dead_stat")
    for name in SEVEN.keys() & config.keys():
        assert getattr(found.merge_config, name) == config[name]
    assert found.merge_config.activation_threshold != MergeConfig().activation_threshold
    assert found.merge_config.filter_dead_threshold != MergeConfig().filter_dead_threshold
    assert pickle.loads(pickle.dumps(found.merge_config)) == found.merge_config
    # What was unknown is so in a file of ours, too.
    found.save(tmp_path / "again.zip")
    again = MergeHistory.read(tmp_path / "again.zip")
    assert_same(again, found)
    assert again.summary() == summary


def test_known_and_unknown_are_not_equal(tmp_path: Path) -> None:
    """A default of ours that happens to be the same is no knowledge."""
    known = MergeConfig(**FOUR)
    write_foreign(tmp_path / "history.zip", random_history(6), FOUR)
    unknown = MergeHistory.read(tmp_path / "history.zip").merge_config
    assert unknown != known
    assert unknown.stable_hash != known.stable_hash
    with pytest.raises(SPDError, match="must have the same merge config"):
        _ = MergeHistoryEnsemble(
            [MergeHistory.read(tmp_path / "history.zip"), MergeHistory.from_config(known, ["m:0"])]
        ).config


def test_the_four_settings_of_a_merge_are_needed(tmp_path: Path) -> None:
    write_foreign(tmp_path / "history.zip", random_history(6), {key: FOUR[key] for key in FOUR if key != "alpha"})
    with pytest.raises(DamagedFileError, match=r"metadata\.json.* merge_config: lacks 'alpha'"):
        MergeHistory.read(tmp_path / "history.zip")


@pytest.mark.parametrize("wrong", [{"what": 1}, {"alpha": -1.0}, {"filter_dead_stat": "median"}])
def test_a_wrong_config_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write_foreign(tmp_path / "history.zip", random_history(6), FOUR | wrong)
    with pytest.raises(DamagedFileError, match=rf"metadata\.json.* valid config: .*{next(iter(wrong))}"):
        MergeHistory.read(tmp_path / "history.zip")


def test_an_ensemble_is_read_by_the_paths_of_its_histories(tmp_path: Path) -> None:
    directory = ensemble_of(tmp_path)
    found = read_foreign_ensemble(directory)
    stored = np.load(directory / "ensemble_merge_array.npz")["merge_array"]
    assert np.array_equal(found.normalized()[0], stored)
    assert found.metadata()["config"] == FOUR
    # As the paths are given, where that is a file; a run's directory will do.
    elsewhere = tmp_path / "elsewhere" / "c-00000001"
    shutil.copytree(tmp_path / "runs" / "c-00000001", elsewhere)
    edit_meta(directory, origin_paths=["/gone/c-00000000/history.zip", str(elsewhere), "/gone/c-00000002"])
    paths = origin_histories(directory)
    assert paths is not None
    assert [path.parent.name for path in paths] == ["c-00000000", "c-00000001", "c-00000002"]
    assert paths[1] == elsewhere / "history.zip"
    edit_meta(directory, origin_paths=None)
    assert origin_histories(directory) is None


def test_an_ensemble_of_other_data_than_it_says_is_refused(tmp_path: Path) -> None:
    directory = ensemble_of(tmp_path)
    first = tmp_path / "runs" / "c-00000000" / "history.zip"
    sound = MergeHistory.read(first)
    write_foreign(first, random_history(12, 8, seed=9, labels=sound.labels), FOUR)
    with pytest.raises(DamagedFileError, match=r"ensemble_merge_array\.npz: its groups of member 0 are not those of"):
        read_foreign_ensemble(directory)
    write_foreign(first, random_history(12, 8, labels=[f"other:{i}" for i in range(12)]), FOUR)
    with pytest.raises(DamagedFileError, match="its components are not those of the histories"):
        read_foreign_ensemble(directory)
    first.unlink()
    with pytest.raises(MissingFileError, match=r"the history of c-00000000 is neither /elsewhere.* nor .*runs"):
        read_foreign_ensemble(directory)
    edit_meta(directory, origin_paths=None)
    with pytest.raises(MissingFileError, match="names no histories"):
        read_foreign_ensemble(directory)
    edit_meta(directory, origin_paths=[3])
    with pytest.raises(DamagedFileError, match="origin_paths must be a list of paths"):
        read_foreign_ensemble(directory)


def test_the_published_format(golden: Path) -> None:
    """Costs along the stored merges and distances of the golden ensemble."""
    clustering = golden / "expected" / "harvest_split" / "clustering"
    directory = clustering / "ensembles" / "e-4d3c2b1a"
    found = read_foreign_ensemble(directory)
    assert found.n_iters_range == (120, 120)
    stored = np.load(directory / "distances_perm_invariant_hamming.npz")["distances"]
    np.testing.assert_array_equal(found.get_distances("perm_invariant_hamming"), stored)
    reference = json.loads((directory / "ensemble_meta.json").read_text())
    assert found.metadata()["config"] == reference["config"]
    whole = MergeHistory.read(clustering / "runs" / "c-5b21e0aa" / "history.zip")
    assert (len(whole), whole.c_components) == (81, 84)
    assert whole.summary()["unknown_settings"] == sorted(EIGHT.keys() - FOUR.keys())
    one_process = MergeHistory.read(clustering / "runs" / "c-77e4f3b9" / "history.zip")
    assert one_process.summary()["merge_config"]["filter_dead_stat"] == "mean"
    assert one_process.summary()["unknown_settings"] == []
