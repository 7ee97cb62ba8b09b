"""What a merge and an ensemble log, with the real client: online, offline, and against servers that fail."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.groups import find_groups
from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_history import MergeHistory
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.clustering.tracking.budget import Budget
from spd.clustering.tracking.ensemble import track_ensemble
from spd.clustering.tracking.metrics_log import read_metrics
from spd.clustering.tracking.observer import RunTracker
from spd.clustering.tracking.wandb_sender import WandbSender
from tests.integration.loopback_wandb import LoopbackServer

pytestmark = pytest.mark.slow

RUN_ID, ENSEMBLE_ID = "c-00000001", "e-00000001"
GENEROUS = 300.0


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("spd"), "propagate", True)
    caplog.set_level(logging.INFO, "spd")


def merge_and_log(
    out_dir: Path, *, allowed_s: float = GENEROUS, intervals: dict[str, int] | None = None, **given: Any
) -> MergeHistory:
    """Merge 20 components down to one under the observer, as a member of an ensemble."""
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((150, 5)) < 0.2, 4, axis=1) & (rng.random((150, 20)) < 0.9)
    memberships = Memberships.from_activations(active, [f"m:{i}" for i in range(20)], None)
    config = ClusteringRunConfig.from_mapping(
        {
            "model_path": "wandb:goodfire/spd/runs/abcd1234",
            "batch_size": 150,
            "merge_config": {"iters": None},
            "ensemble_id": ENSEMBLE_ID,
            "logging_intervals": intervals or {"stat": 1, "tensor": 5, "plot": 8, "artifact": 6},
            "wandb_project": "proj",
            **given,
        },
        "test",
    )
    paths = RunPaths(RUN_ID)
    budget = Budget(reserved_s=0.0, allowed_s=allowed_s)
    with RunTracker(paths, config, memberships, idx=3, task="lm", budget=budget) as tracker:
        history = merge_iteration(
            config.merge_config, memberships, memberships.labels, tracker, rng=np.random.default_rng(0)
        )
        history.save(paths.history)
        tracker.finished(history, find_groups(memberships, control=False))
    return history


def test_everything_asked_for_arrives(
    wandb_server: LoopbackServer, out_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = merge_and_log(out_dir)
    assert "W&B" not in caplog.text
    run = wandb_server.runs[f"me/proj/{RUN_ID}"]
    assert run.exit_code == 0
    assert [line["n_groups_found"] for line in run.history if "n_groups_found" in line] == [5]
    assert run.group == ENSEMBLE_ID
    assert run.tags == ["clustering", "task:lm", "model:abcd1234", f"ensemble_id:{ENSEMBLE_ID}", "assigned_idx:3"]
    assert run.config["merge_config"]["merge_pair_sampling_method"] == "range"

    by_step = {line["_step"]: line for line in run.history}
    assert [by_step[i]["merge_pair_cost"] for i in range(19)] == pytest.approx(list(history.merge_pair_cost))
    assert [by_step[i]["mdl_loss_norm"] for i in range(19)] == pytest.approx(list(history.mdl_loss_norm))
    assert by_step[0]["mdl_loss"] == pytest.approx(150 * by_step[0]["mdl_loss_norm"])
    scalars = ["k_groups", "merge_pair_cost_semilog[1e-3]", "fraction_singleton_groups", "num_nonsingleton_groups"]
    assert all(name in by_step[i] for name in scalars for i in range(19))

    counted = ["coactivation", "group_sizes", "group_activations", "group_activations_over_sizes"]
    names = ["costs", *counted, *(f"{name}.log1p" for name in counted)]
    for step in (0, 5, 10, 15):
        assert "fraction_zero_coacts" in by_step[step]
        for name in names:
            assert by_step[step][f"tensor_histograms/iters.{name}"]["_type"] == "histogram"
            for statistic in ("mean", "std", "min", "median", "max"):
                assert f"tensor_metrics/iters.{name}/{statistic}" in by_step[step]
    assert "tensor_metrics/iters.costs/mean" not in by_step[1]

    assert [step for step in by_step if "plots/merges" in by_step[step]] == [8, 16]
    image = wandb_server.root / "me" / "proj" / RUN_ID / by_step[8]["plots/merges"]["path"]
    assert image.read_bytes().startswith(b"\x89PNG")
    assert sorted(wandb_server.artifacts) == [
        "merge_hist_iter.iter_12",
        "merge_hist_iter.iter_18",
        "merge_hist_iter.iter_6",
        "merge_history",
    ]
    assert all(artifact["committed"] for artifact in wandb_server.artifacts.values())
    partial = MergeHistory.read(wandb_server.root / "artifacts" / "merge_hist_iter.iter_6" / "history.zip")
    np.testing.assert_array_equal(partial.selected_pairs, history.selected_pairs[:7])


def test_the_file_has_the_same_scalars_with_and_without_wandb(wandb_server: LoopbackServer, out_dir: Path) -> None:
    """At the intervals of the config, and, in the file, at the end."""
    intervals = {"stat": 4, "tensor": 50, "plot": 50, "artifact": 50}
    merge_and_log(out_dir, intervals=intervals)
    with_wandb = read_metrics(RunPaths(RUN_ID).metrics)
    merge_and_log(out_dir, intervals=intervals, wandb_project=None)
    without = read_metrics(RunPaths(RUN_ID).metrics)
    assert [line | {"elapsed_s": 0} for line in with_wandb] == [line | {"elapsed_s": 0} for line in without]
    assert [line["iteration"] for line in without] == [0, 4, 8, 12, 16, 18]
    lines = wandb_server.runs[f"me/proj/{RUN_ID}"].history
    assert [line["_step"] for line in lines if "k_groups" in line] == [0, 4, 8, 12, 16]
    sent = {line["_step"]: line for line in lines}
    for line in without[:-1]:
        for name in set(line) - {"iteration", "n_iters", "first_iteration", "elapsed_s"}:
            assert sent[line["iteration"]][name] == pytest.approx(line[name])


def test_offline_everything_stays_on_disk(
    wandb_server: LoopbackServer, out_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR")
    merge_and_log(out_dir)
    assert "W&B" not in caplog.text
    assert wandb_server.requests == []
    (stored,) = RunPaths(RUN_ID).directory.glob("wandb/offline-run-*/run-*.wandb")
    assert b"merge_pair_cost" in stored.read_bytes()


@pytest.mark.parametrize("fault", ["no server", "status 500", "wrong key"])
def test_a_server_that_does_not_take_the_run_costs_a_warning(
    wandb_server: LoopbackServer,
    out_dir: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if fault == "no server":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb_server.faults.refused_tokens = fault == "wrong key"
    wandb_server.faults.failing |= {"*"} if fault == "status 500" else set()
    history = merge_and_log(out_dir, allowed_s=5.0 if fault == "wrong key" else 3.0)  # the others are waited for
    assert len(history) == 19
    assert len(read_metrics(RunPaths(RUN_ID).metrics)) == 19
    assert "W&B: " in caplog.text
    assert "the clustering goes on without it" in caplog.text


def test_uploads_that_fail_cost_a_warning(
    wandb_server: LoopbackServer, out_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server takes the run, and then nothing any more."""
    wandb_server.faults.failing |= {"upload", "file_stream", "CreateArtifact", "CreateRunFiles"}
    assert len(merge_and_log(out_dir, allowed_s=5.0)) == 19
    assert "not everything was sent within" in caplog.text


def test_a_run_that_goes_on_is_the_same_run(
    wandb_server: LoopbackServer, out_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a line that cannot be sent costs only itself."""
    for first in (0, 5):
        sender = WandbSender({"project": "proj", "id": "one", "dir": str(tmp_path)})
        for step in range(first, first + 5):
            images = {"images": {"missing": str(tmp_path / "missing.png")}} if step == 2 else {}
            sender.send({"step": step, "values": {"a": step}, **images})
        sender.finish(GENEROUS)
        assert not sender.directory.exists()
    assert [line["a"] for line in wandb_server.runs["me/proj/one"].history] == [0, 1, *range(3, 10)]
    assert "missing.png" in caplog.text


def test_an_ensemble_has_a_run_and_a_view_of_its_own(
    wandb_server: LoopbackServer, out_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from spd.clustering.plotting.figures import save_distance_figure

    paths = EnsemblePaths(ENSEMBLE_ID)
    paths.directory.mkdir(parents=True)
    distances = np.full((3, 2, 2), np.nan)
    distances[:, 1, 0] = [1, 2, 3]
    save_distance_figure(paths.distances_figure("matching_dist"), distances, "matching_dist", 20)
    paths.meta.write_text(json.dumps({"n_ensemble": 2}))
    paths.stable_groups.write_text(json.dumps({"stable_groups": [{}, {}, {}]}))
    config = ClusteringRunConfig.from_mapping(
        {"activations_path": "x.npy", "batch_size": 1, "wandb_project": "proj"}, "test"
    )
    track_ensemble(paths, config, patience_s=GENEROUS)
    assert "W&B" not in caplog.text
    run = wandb_server.runs[f"me/proj/{ENSEMBLE_ID}"]
    assert f"ensemble_id:{ENSEMBLE_ID}" in run.tags
    assert run.summary["n_stable_groups"] == 3
    assert "plots/distances/matching_dist" in run.history[0]
    assert wandb_server.artifacts[f"stable_groups.{ENSEMBLE_ID}"]["committed"]
    (view,) = wandb_server.views.values()
    assert f"ensemble_id:{ENSEMBLE_ID}" in view["spec"]
