"""What a process that was killed leaves."""

from pathlib import Path

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.pipeline.run_state import clear_half_written, has_saved_memberships
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
