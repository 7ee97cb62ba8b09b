"""A run that was cut off while it merged, and what is damaged when it is taken up."""

from pathlib import Path

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge import MergeRunOptions, merge_iteration
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.drawn import read_memberships
from spd.clustering.pipeline.member import harvest_run
from spd.clustering.pipeline.member_merge import merge_run
from spd.clustering.pipeline.sources import open_source
from spd.clustering.storage import RunPaths
from spd.errors import DamagedFileError


@pytest.fixture
def cut_off(out_dir: Path, tmp_path: Path) -> tuple[RunPaths, ClusteringRunConfig]:
    """A run whose memberships are saved, and a checkpoint after five merges."""
    merge_config = {"activation_threshold": 0.1, "iters": None}
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((200, 20), dtype=np.float32) < 0.3)
    content = {"activations_path": str(tmp_path / "x.npy"), "batch_size": 200, "merge_config": merge_config}
    config = ClusteringRunConfig.from_mapping(content, "test")
    paths = RunPaths(RunPaths.new_id())
    harvest_run(paths, config, open_source(config))
    memberships = read_memberships(paths)

    def stop(step):
        if step.iteration == 4:
            raise KeyboardInterrupt

    options = MergeRunOptions(config.merge_options, checkpoint_path=paths.checkpoint_merge)
    rng = np.random.default_rng(config.seed)
    history = merge_iteration(config.merge_config, memberships, memberships.labels, stop, rng=rng, run_options=options)
    assert len(history) == 5
    return paths, config


def test_damaged_memberships_leave_the_checkpoint(cut_off: tuple[RunPaths, ClusteringRunConfig]) -> None:
    paths, config = cut_off
    (indices,) = paths.checkpoint_memberships.glob("*.indices.npy")
    content = indices.read_bytes()
    indices.write_bytes(content[:-2] + b"\xff\xff")
    with pytest.raises(DamagedFileError, match="part-00000: is damaged"):
        merge_run(paths, config)
    assert paths.checkpoint_merge.is_file()
    indices.write_bytes(content)
    merge_run(paths, config)
    assert len(MergeHistory.read(paths.history)) == 19


def test_a_damaged_checkpoint_is_put_away(
    cut_off: tuple[RunPaths, ClusteringRunConfig], caplog: pytest.LogCaptureFixture
) -> None:
    paths, config = cut_off
    paths.checkpoint_merge.write_bytes(paths.checkpoint_merge.read_bytes()[:-100])
    with caplog.at_level("WARNING", logger="spd"):
        merge_run(paths, config)
    assert "the merge starts again" in caplog.text
    assert len(MergeHistory.read(paths.history)) == 19
