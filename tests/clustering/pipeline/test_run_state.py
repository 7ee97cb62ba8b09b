"""What a process that was killed leaves."""

from pathlib import Path

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.memberships import Memberships
from spd.clustering.pipeline.drawn import read_memberships
from spd.clustering.pipeline.member import harvest_run
from spd.clustering.pipeline.run_state import clear_half_written, has_saved_memberships
from spd.clustering.pipeline.sources import open_source
from spd.clustering.storage import RunPaths


def test_temporary_files_of_a_killed_harvest_go(tmp_path: Path) -> None:
    """They may be as large as the memberships themselves."""
    run = RunPaths("c-0123abcd", tmp_path)
    clear_half_written(run)
    Memberships.from_activations(np.eye(3, dtype=bool), ["m:0", "m:1", "m:2"], None).save(run.checkpoint_memberships)
    left = [
        run.checkpoint / ".harvest.json.x.tmp",
        run.checkpoint_memberships / ".part-00000.indices.abc.tmp.npy",
        run.checkpoint_memberships / ".index.json.abc.tmp",
    ]
    for path in left:
        path.touch()
    clear_half_written(run)
    assert not any(path.exists() for path in left)
    assert has_saved_memberships(run)


def test_a_damaged_file_of_an_older_version_is_made_again(tmp_path: Path, out_dir: Path) -> None:
    """Today's is a directory, under another name."""
    config = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=30)
    run, source = RunPaths("c-0123abcd"), open_source(config)
    harvest_run(run, config, source)
    made = read_memberships(run)
    made.save(run.checkpoint / "memberships.npz")
    harvest_run(run, config, source)
    assert read_memberships(run).directory is None, "one that can be read is used"
    (run.checkpoint / "memberships.npz").write_bytes(b"PK")
    harvest_run(run, config, source)
    assert [path.name for path in run.checkpoint.iterdir()] == ["memberships"]
    assert np.array_equal(read_memberships(run).indices, made.indices)
