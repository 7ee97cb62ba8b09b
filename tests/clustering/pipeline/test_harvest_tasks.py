"""One harvest in several tasks: the same for any number of them, and whole or refused."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_members
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.drawn import read_memberships
from spd.clustering.pipeline.ensemble import create_pipeline, open_pipeline
from spd.clustering.pipeline.harvest import begin_harvest, close_harvest, harvest_part, run_harvest
from spd.clustering.pipeline.run_state import has_saved_memberships
from spd.clustering.pipeline.shared_harvest import begin_shared, harvest_of, harvest_rows, with_source
from spd.clustering.pipeline.sources import ModelSource, open_source
from spd.clustering.scripts import run_harvest as command
from spd.clustering.scripts import run_pipeline
from spd.clustering.storage import EnsemblePaths, HarvestPaths, RunPaths
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError

RUN = {
    "model_path": "example:resid_mlp2",
    "batch_size": 300,
    "micro_batch_size": 40,
    "filter_dead_stat": "mean",
    "merge_config": {"activation_threshold": 0.05, "filter_dead_threshold": 0.01, "iters": 20},
}


def _config(**changes: object) -> ClusteringRunConfig:
    return ClusteringRunConfig.model_validate({**RUN, **changes})


def _begun(out_dir: Path, n_tasks: int, config: ClusteringRunConfig) -> tuple[HarvestPaths, ModelSource]:
    paths, source = HarvestPaths.new(), ModelSource("example:resid_mlp2")
    begin_harvest(paths, config, source, n_tasks)
    return paths, source


@pytest.mark.parametrize("n_tokens", [None, 41])
def test_any_number_of_tasks_gives_the_same_samples_in_the_same_order(out_dir: Path, n_tokens: int | None) -> None:
    config = _config(n_tokens=n_tokens)
    at_once = SavedHarvest(run_harvest(config, HarvestPaths.new_id())).load()
    assert 0 < at_once.n_components < at_once.n_components + len(at_once.dead_labels)
    for n_tasks in (1, 2) if n_tokens == 41 else (1, 2, 3):
        paths, source = _begun(out_dir, n_tasks, config)
        parts = [harvest_part(paths, part, source) for part in reversed(range(n_tasks))]
        assert sum(part.n_samples for part in parts) == (n_tokens or 300)
        close_harvest(paths)
        made = SavedHarvest(paths).load()
        assert (made.labels, made.dead_labels) == (at_once.labels, at_once.dead_labels)
        assert np.array_equal(made.indptr, at_once.indptr)
        assert np.array_equal(made.indices, at_once.indices)
        whole = [np.load(paths.memberships / f"part-{part:05}.indices.npy") for part in range(n_tasks)]
        source_of = SavedHarvest(paths).fingerprints()
        assert len(source_of) == 1
        if n_tasks == 1:
            first = np.concatenate(whole)
        assert np.array_equal(np.concatenate(whole), first)
        content = json.loads(paths.metadata.read_text())
        assert content["n_active_entries"] == at_once.nnz
    (paths.memberships / "part-00000.indices.npy").write_bytes(b"")
    assert command.main(["--check", str(paths.directory)]) == 1


def test_what_is_not_whole_is_no_harvest(out_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, source = _begun(out_dir, 3, _config())
    for part in (0, 2):
        harvest_part(paths, part, source)
    with pytest.raises(MissingFileError, match=r"part-00001\.json: no such file"):
        close_harvest(paths)
    with pytest.raises(MissingFileError, match=r"is not complete: .* \(1 of 3 parts are not there: 1\)"):
        SavedHarvest(paths)
    other, _ = _begun(out_dir, 3, _config(dataset_seed=1))
    harvest_part(other, 1, source)
    for file in other.memberships.glob("part-00001.*"):
        shutil.copy(file, paths.memberships)
    with pytest.raises(DamagedFileError, match=r"part-00001\.json: belongs to another harvest"):
        close_harvest(paths)
    with pytest.raises(ConfigError, match=r"there is no part 3 of this harvest, parts are 0 .. 2"):
        harvest_part(paths, 3, source)
    before = (paths.memberships / "part-00000.json").stat().st_mtime_ns
    for part in range(3):  # the foreign one is made again, the others are kept
        harvest_part(paths, part, source)
    assert (paths.memberships / "part-00000.json").stat().st_mtime_ns == before
    close_harvest(paths)
    assert command.main(["--check", str(paths.directory)]) == 0
    assert "all files are what was written" in capsys.readouterr().out


def test_a_disk_that_is_full_in_the_middle_leaves_no_harvest(out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.pipeline.harvest._PROBE_BYTES", 1 << 10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))
        with pytest.raises(SPDError, match=r"part-00000\.\w+\.npy: cannot be written: File too large"):
            run_harvest(_config(), HarvestPaths.new_id())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((out_dir / "clustering" / "harvests").iterdir()) == []


def test_a_run_names_its_harvest(out_dir: Path) -> None:
    """Its checkpoint holds no copy, and is refused when the harvest is another one."""
    harvest = run_harvest(_config(), HarvestPaths.new_id())
    config = ClusteringRunConfig(activations_path=str(harvest.directory), batch_size=1, ensemble_id="e-0123abcd")
    source, run = open_source(config), RunPaths("c-0123abcd")
    config = source.run_config(config).replaced(dataset_seed=5)
    drawn = source.drawn_from(config)
    assert drawn is not None
    drawn.write(run)
    assert [path.name for path in run.checkpoint.iterdir()] == ["harvest.json"]
    read, made = read_memberships(run), source.memberships(config)
    assert np.array_equal(read.indices, made.indices)
    assert not np.array_equal(read.lengths, SavedHarvest(harvest).load().lengths)

    path = harvest.memberships / "part-00000.indices.npy"
    indices = np.load(path)
    assert indices[0] > 0
    np.save(path, np.concatenate([indices[:1] - 1, indices[1:]]))
    with pytest.raises(DamagedFileError, match="its entries are not those that were written"):
        read_memberships(run, check=True)
    np.save(path, indices)
    few = SavedHarvest(harvest).load().rows(np.arange(10))
    Memberships(few.indptr, few.indices, few.values, read.labels).save(harvest.memberships)
    with pytest.raises(DamagedFileError, match="is not the harvest that the run was begun with"):
        read_memberships(run)
    assert not has_saved_memberships(run)


def test_a_task_waits_for_another_that_closes_the_harvest(out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last two tasks may both find all parts whole; one that failed would keep the members from starting."""
    monkeypatch.setattr("spd.clustering.pipeline.harvest._SECONDS_FOR_THE_LOCK", 0.0)
    paths, source = _begun(out_dir, 1, _config())
    harvest_part(paths, 0, source)
    hold = "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(0.5)"
    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, sys, time; {hold}", str(paths.lock)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert close_harvest(paths).n_samples == 300


def test_a_harvest_is_closed_with_the_config_that_it_was_begun_with(out_dir: Path) -> None:
    """Its metadata would tell another threshold than its parts have."""
    paths, source = _begun(out_dir, 1, _config())
    harvest_part(paths, 0, source)
    plan = paths.plan.read_text()
    paths.plan.write_text(json.dumps({**json.loads(plan), "made_from": {"x": 3}}))
    with pytest.raises(DamagedFileError, match=r"harvest_plan\.json: is no plan of a harvest"):
        close_harvest(paths)
    paths.plan.write_text(plan)
    merge = {**RUN["merge_config"], "activation_threshold": 0.5}  # type: ignore[dict-item]
    _config(merge_config=merge).to_file(paths.config)
    with pytest.raises(ConfigError, match=r"harvest_config\.json: is not the config that the harvest was begun with"):
        close_harvest(paths)
    assert not paths.metadata.exists()
    _config().to_file(paths.config)
    close_harvest(paths)


def test_a_harvest_of_another_config_is_not_taken_for_the_ensembles(tmp_path: Path, out_dir: Path) -> None:
    config = ClusteringPipelineConfig.from_file(_write_pipeline(tmp_path))
    pipeline = create_pipeline(config, config.run_config)
    harvest, source = harvest_of(pipeline.paths), ModelSource("example:resid_mlp2")
    begin_shared(pipeline, source)
    for part in range(2):
        harvest_part(harvest, part, source)
    pipeline, _ = begin_shared(pipeline, source)
    assert pipeline.run_config.activations_path == str(harvest.directory)
    opened = open_pipeline(pipeline.paths.ensemble_id)
    assert harvest_rows(opened.paths, [])[-1][1] == "complete"
    (harvest.memberships / "part-00001.indices.npy").unlink()
    assert harvest_rows(opened.paths, [])[-1][1].startswith(f"damaged: remove {harvest.metadata}, then --resume")
    harvest.metadata.unlink()  # as it says
    begin_shared(opened, source)
    harvest_part(harvest, 1, source)
    begin_shared(opened, source)
    assert with_source(opened)[0].run_config == pipeline.run_config
    opened.run_config.replaced(batch_size=400, wandb_project="p").to_file(opened.paths.clustering_run_config)
    with pytest.raises(ConfigError, match=r"was made with another config \(batch_size: 300, now 400\)"):
        with_source(open_pipeline(pipeline.paths.ensemble_id))


def test_what_tasks_cannot_share(out_dir: Path) -> None:
    with pytest.raises(ConfigError, match="9 tasks need as many micro-batches, but 300 items are 8 of 40"):
        _begun(out_dir, 9, _config())
    with pytest.raises(ConfigError, match="3 tasks need as many micro-batches, but 41 items are 2 of 40"):
        _begun(out_dir, 3, _config(n_tokens=41))
    paths, source = _begun(out_dir, 2, _config())
    begin_harvest(paths, _config(), source, 2)
    for config, n_tasks in ((_config(dataset_seed=3), 2), (_config(), 3)):
        with pytest.raises(ConfigError, match="was begun with another config, another model or another number"):
            begin_harvest(paths, config, source, n_tasks)


def _write_pipeline(tmp_path: Path, **changes: object) -> Path:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    content = {
        "clustering_run_config_path": "run.json",
        "n_runs": 2,
        "distances_methods": ["perm_invariant_hamming"],
        "harvest_tasks": 2,
        "report": False,
        **changes,
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "pipeline.yaml"


def test_tasks_are_for_models(tmp_path: Path, out_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _write_pipeline(tmp_path)
    np.save(tmp_path / "x.npy", np.eye(5, dtype=np.float32))
    (tmp_path / "run.json").write_text(json.dumps({"activations_path": str(tmp_path / "x.npy"), "batch_size": 5}))
    assert run_pipeline.main(["--config", str(config), "--local"]) == 1
    assert "harvest_tasks: is for the importances of a model" in capsys.readouterr().err
    assert not out_dir.exists()


@pytest.mark.slow
def test_an_ensemble_whose_members_share_a_harvest(
    tmp_path: Path, out_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_pipeline.main(["--config", str(_write_pipeline(tmp_path)), "--local"]) == 0
    printed = capsys.readouterr().out
    ensemble = EnsemblePaths(re.search(r"e-[0-9a-f]{8}", printed)[0])  # type: ignore[index]
    harvest = harvest_of(ensemble)
    assert re.search(r"part 1 +whole +140", printed)
    assert "complete" in printed
    runs = [ensemble.run(member.run_id) for member in get_members(ensemble.ensemble_id)]
    pairs = [MergeHistory.read(run.history).selected_pairs for run in runs]
    assert not np.array_equal(*pairs)
    config = ClusteringRunConfig.from_file(runs[0].config)
    assert (config.activations_path, config.model_path) == (str(harvest.directory), None)
    assert config.spd_run == "example:resid_mlp2"
    assert run_pipeline.main(["--resume", ensemble.ensemble_id, "--local"]) == 0
    history = runs[1].history.read_bytes()
    runs[1].history.unlink()
    shutil.rmtree(harvest.directory)
    assert run_pipeline.main(["--resume", ensemble.ensemble_id, "--local"]) == 0
    assert harvest.metadata.is_file()
    again = MergeHistory.read(runs[1].history)
    assert np.array_equal(again.selected_pairs, pairs[1])
    assert len(history)


@pytest.mark.slow
def test_a_task_that_is_killed_is_made_again_alone(tmp_path: Path, out_dir: Path) -> None:
    """Its process is killed in the middle; the other part stays, and no member has started."""
    config = _write_pipeline(tmp_path)
    run = {**RUN, "batch_size": 12_000, "micro_batch_size": 10}
    (tmp_path / "run.json").write_text(json.dumps(run))
    line = [sys.executable, "-m", "spd.clustering.scripts.run_pipeline"]
    started = subprocess.Popen(
        [*line, "--config", str(config), "--local"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    victim = _process_that_writes(out_dir, "part-00001")
    os.kill(victim, signal.SIGKILL)
    _, error = started.communicate(timeout=300)
    assert started.returncode == 1
    assert re.search(r"harvest part 1: its process was killed by SIGKILL", error)
    harvest = next((out_dir / "clustering" / "harvests").iterdir())
    assert (harvest / "memberships" / "part-00000.json").is_file()
    assert not (harvest / "metadata.json").exists()
    assert not list((out_dir / "clustering" / "runs").glob("*/history.zip"))
    before = (harvest / "memberships" / "part-00000.json").stat().st_mtime_ns
    ensemble_id = f"e-{harvest.name.split('-')[1]}"
    again = subprocess.run([*line, "--resume", ensemble_id, "--local"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (harvest / "memberships" / "part-00000.json").stat().st_mtime_ns == before
    assert not list((harvest / "memberships").glob(".*")), "what the killed task left is gone"


def _process_that_writes(out_dir: Path, name: str) -> int:
    """The process that has a temporary file of this part open."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for descriptors in Path("/proc").glob("[0-9]*/fd"):
            try:
                links = [os.readlink(link) for link in descriptors.iterdir()]
            except OSError:
                continue
            if any(str(out_dir) in link and f"/.{name}.indices" in link for link in links):
                return int(descriptors.parent.name)
        time.sleep(0.05)
    raise AssertionError(f"nothing writes {name}")
