"""The table of an ensemble: what is done, what is not and why, where the minimum was cut off."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.ensemble_registry import register_members, set_member_state
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.summary import last_metrics, summary_text
from spd.clustering.storage import EnsemblePaths
from spd.files.checked import write_npz

LABELS = [f"layer:{index}" for index in range(12)]


def _save_history(path: Path, iters: int | None) -> None:
    """Twelve components in four groups of three that are always active together."""
    active = np.repeat(np.random.default_rng(0).random((200, 4)) < 0.2, 3, axis=1)
    config = MergeConfig(iters=iters, merge_pair_sampling_kwargs={"threshold": 0.0})
    merge_iteration(config, active, LABELS, rng=np.random.default_rng(0)).save(path)


@pytest.mark.filterwarnings("ignore:the MDL is least at the last iteration")
def test_every_state_of_a_member(out_dir: Path) -> None:
    ids = [f"c-0000000{number}" for number in range(6)]
    register_members("e-00000001", ids)
    paths = EnsemblePaths("e-00000001")
    _save_history(paths.run(ids[0]).history, None)
    _save_history(paths.run(ids[1]).history, 3)
    paths.run(ids[2]).directory.mkdir(parents=True)
    set_member_state("e-00000001", 2, "failed", error="no component is alive")
    set_member_state("e-00000001", 3, "running")
    paths.run(ids[3]).directory.mkdir(parents=True)
    line = json.dumps({"iteration": 6, "k_groups": 5})
    paths.run(ids[3]).metrics.write_text(f'{line}\n{{"iteration": 7, "k_gr')
    paths.run(ids[5]).directory.mkdir(parents=True)
    paths.run(ids[5]).history.write_bytes(b"PK")
    rows = summary_text(paths).splitlines()[3:9]
    assert rows[0].split() == ["0", ids[0], "done", "12", "11", "4"]
    assert rows[1].split()[:6] == ["1", ids[1], "done", "12", "3", "9"]
    assert "! the minimum is at the last merge" in rows[1]
    assert rows[2].split(maxsplit=3) == ["2", ids[2], "failed", "no component is alive"]
    assert rows[3].split()[:3] == ["3", ids[3], "running"]
    assert "merge 7, 5 groups left" in rows[3]
    assert rows[4].split() == ["4", ids[4], "pending"]
    assert rows[5].split()[2] == "damaged"


def test_distances_at_the_minimum_and_at_the_end(out_dir: Path) -> None:
    ids = ["c-00000000", "c-00000001"]
    register_members("e-00000001", ids)
    paths = EnsemblePaths("e-00000001")
    for run_id in ids:
        _save_history(paths.run(run_id).history, None)
    distances = np.full((11, 2, 2), np.nan)
    distances[:, 1, 0] = np.arange(11)
    distances[7, 1, 0] = np.nan
    write_npz(paths.distances("matching_dist"), {"distances": distances})
    (row,) = [line for line in summary_text(paths).splitlines() if line.startswith("matching_dist")]
    assert re.split("  +", row) == ["matching_dist", "6 (merge 7)", "10 (merge 11)"]


def test_an_ensemble_of_goodfire_s(golden: Path) -> None:
    layout = golden / "expected/resid_mlp1/e2e_reference_layout"
    text = summary_text(EnsemblePaths("e-4a70d619", layout / "ensembles/e-4a70d619"))
    assert text.count(" done ") == 3
    assert "keeps no MDL" in text
    assert "perm_invariant_hamming" in text


def test_metrics_that_are_being_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_metrics(path) == {}
    for content, expected in [("", {}), ('{"a": 1}', {}), ('{"a": 1}\n{"a"', {"a": 1}), ("x\n", {}), ("[1]\n", {})]:
        path.write_text(content)
        assert last_metrics(path) == expected
