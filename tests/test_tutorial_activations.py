"""The tutorial's blocks, run in their order in an empty directory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial_activations.md"
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_runs(out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict = {}
    kinds = []
    for kind, file_name, content in _BLOCK.findall(TUTORIAL.read_text()):
        kinds.append(kind)
        if kind == "python":
            exec(compile(content, TUTORIAL.name, "exec"), names)
        elif kind == "yaml":
            Path(file_name).write_text(content)
        else:
            assert kind == "bash"
            done = subprocess.run(["bash", "-e", "-c", content], check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    assert {"python", "yaml", "bash"} <= set(kinds)

    # What the text says about the numbers.
    measure = names["common_digit"]
    n_images, share = measure(names["large"])
    assert n_images > 5 * measure(names["random_groups"])[0]
    assert share > 0.75 > 0.6 > measure([[atom] for atom in range(100)])[1]
    assert (tmp_path / "digit_groups.png").stat().st_size > 10_000
    ensembles = list((out_dir / "clustering" / "ensembles").iterdir())
    merges = np.load(ensembles[0] / "ensemble_merge_array.npz")["merge_array"]
    assert (merges.shape[0], merges.shape[2]) == (4, 100)
    assert (ensembles[0] / "distances_matching_dist.npz").is_file()
