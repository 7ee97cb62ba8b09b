"""Where memberships come from: one protocol, a class for each kind."""

from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.saved import save_harvest
from spd.clustering.memberships import Memberships
from spd.clustering.pipeline.config import member_config
from spd.clustering.pipeline.shared_samples import MatrixSource, SavedHarvestSource
from spd.clustering.pipeline.sources import ModelSource, open_source, task_name
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, MissingFileError, SPDError
from spd.files.fingerprint import fingerprint
from tests.clustering.harvest import test_param_decomp

RNG = np.random.default_rng(0)
MATRIX = np.where(RNG.random((50, 4)) < 0.4, RNG.random((50, 4)), 0).astype(np.float32)


def _config(path: Path, **values: object) -> ClusteringRunConfig:
    return ClusteringRunConfig.model_validate({"activations_path": str(path), "batch_size": 50, **values})


def _same(first: Memberships, second: Memberships) -> bool:
    return first.labels == second.labels and (first.to_scipy() != second.to_scipy()).nnz == 0


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    np.save(tmp_path / "m.npy", MATRIX)
    return tmp_path / "m.npy"


@pytest.fixture
def harvest(tmp_path: Path) -> HarvestPaths:
    """Ours, made with thresholds that are not the defaults."""
    paths = HarvestPaths("h-0123abcd", tmp_path / "h-0123abcd")
    labels = [f"m:{index}" for index in range(4)]
    config = ClusteringRunConfig.model_validate(
        {
            "model_path": "example:resid_mlp2",
            "batch_size": 50,
            "merge_config": {"activation_threshold": 0.5, "filter_dead_threshold": 0.25},
        }
    )
    save_harvest(paths, config, Memberships.from_activations(MATRIX, labels, 0.5), 1.0)
    return paths


def test_a_class_for_each_kind(matrix: Path, harvest: HarvestPaths, tmp_path: Path) -> None:
    model = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=4)
    other = test_param_decomp.write(tmp_path / "ch-0123abcd")
    for config, kind in (
        (model, ModelSource),
        (_config(matrix), MatrixSource),
        (_config(harvest.directory), SavedHarvestSource),
        (_config(harvest.memberships), SavedHarvestSource),
        (_config(other.directory), SavedHarvestSource),
        (_config(other.memberships), SavedHarvestSource),
    ):
        assert type(open_source(config)) is kind
    assert task_name(model) == "resid_mlp"
    assert task_name(_config(matrix)) is None


def test_how_many_samples_there_will_be(matrix: Path, harvest: HarvestPaths, tmp_path: Path) -> None:
    saved = Memberships.from_activations(MATRIX, [f"m:{index}" for index in range(4)], 0.5)
    saved.save(tmp_path / "saved.npz")
    for path, n_samples in ((matrix, 20), (harvest.directory, 50), (tmp_path / "saved.npz", 20)):
        assert open_source(_config(path)).expected_samples(_config(path)) == 50
        assert open_source(_config(path)).expected_samples(_config(path, batch_size=20)) == n_samples


def test_another_config_of_the_same_source_is_read_again(matrix: Path) -> None:
    """A trial on a few samples must not decide what a run gets."""
    source = open_source(_config(matrix))
    for size in (5, 50, 7):
        assert source.memberships(_config(matrix, batch_size=size)).n_samples == size
    whole = source.memberships(_config(matrix))
    assert source.memberships(_config(matrix)) is whole
    low, high = (
        source.memberships(_config(matrix, merge_config={"activation_threshold": value})) for value in (0.1, 0.8)
    )
    assert low.nnz > high.nnz


def test_members_draw_with_replacement(matrix: Path, harvest: HarvestPaths) -> None:
    for path in (matrix, harvest.directory):
        source = open_source(_config(path))
        whole = source.memberships(_config(path))
        for idx in range(2):
            member = source.memberships(member_config(_config(path), "e-0123abcd", idx))
            assert _same(member, whole.resample_rows(np.random.default_rng(idx)))


def test_a_config_says_what_its_harvest_was_made_with(harvest: HarvestPaths) -> None:
    given = _config(harvest.directory, batch_size=7, merge_config={"alpha": 2.0})
    source = open_source(given)
    config = source.run_config(given)
    merge = config.merge_config
    assert (merge.activation_threshold, merge.filter_dead_threshold, merge.alpha) == (0.5, 0.25, 2.0)
    assert (config.batch_size, config.harvest_model_path, config.spd_run) == (
        50,
        "example:resid_mlp2",
        "example:resid_mlp2",
    )
    assert source.run_config(config) == config
    assert _same(source.memberships(config), Memberships.load(harvest.memberships))
    for wrong in ({"activation_threshold": 0.01}, {"filter_dead_threshold": 0.0}, {"module_name_filter": "m"}):
        with pytest.raises(
            ConfigError, match=f"merge_config.{next(iter(wrong))}: the harvest h-0123abcd was made with"
        ):
            source.run_config(_config(harvest.directory, merge_config=wrong))
    with pytest.raises(ConfigError, match="filter_dead_stat: the harvest h-0123abcd was made with 'max'"):
        source.run_config(_config(harvest.directory, filter_dead_stat="mean"))


def test_what_another_tool_does_not_tell_stays_unknown(tmp_path: Path) -> None:
    older = {"n_samples": 4, "n_components": 3, "labels": test_param_decomp.LABELS}
    paths = test_param_decomp.write(tmp_path / "ch-0123abcd", metadata=older, config=None)
    given = _config(paths.directory, merge_config={"alpha": 2.0, "activation_threshold": 0.01})
    config = open_source(given).run_config(given)
    assert config.merge_config.alpha == 2.0
    assert len(config.merge_config.unknown) == 4
    config.to_file(tmp_path / "run.json")
    back = ClusteringRunConfig.from_file(tmp_path / "run.json")
    assert back == config
    assert open_source(back).run_config(back) == back
    assert "0.01" not in (tmp_path / "run.json").read_text()


def test_the_files_that_it_was_made_from(matrix: Path, harvest: HarvestPaths) -> None:
    labels = matrix.with_suffix(".labels.txt")
    labels.write_text("\n".join(f"m:{index}" for index in range(4)))
    assert open_source(_config(matrix)).fingerprints() == {str(path): fingerprint(path) for path in (matrix, labels)}
    assert open_source(_config(harvest.directory)).fingerprints() == {
        str(harvest.memberships / "index.json"): fingerprint(harvest.memberships / "index.json")
    }
    model = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=4)
    assert len(open_source(model).fingerprints()) == 2


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "h-0000abcd").mkdir()
    with pytest.raises(MissingFileError, match=r"is not complete: its metadata\.json is missing"):
        open_source(_config(tmp_path / "h-0000abcd"))
    with pytest.raises(MissingFileError, match="no such file of activations"):
        open_source(_config(tmp_path / "none.npy"))


def test_a_model_that_attends_over_the_batch_gets_it_whole(golden: Path) -> None:
    """Its importances are those of the whole batch, and no slice of it can be asked for."""
    run = golden / "runs" / "resid_mlp2_global_reverse_attn" / "spd_run"
    config = ClusteringRunConfig(model_path=str(run), batch_size=60)
    source = open_source(config)
    whole = source.memberships(config)
    assert whole.n_samples == 60
    assert _same(source.memberships(config.replaced(micro_batch_size=60)), whole)
    in_parts = config.replaced(micro_batch_size=20)
    with pytest.raises(SPDError, match="batch"):
        source.memberships(in_parts)
