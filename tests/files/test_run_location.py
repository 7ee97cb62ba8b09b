"""Locating runs on this machine."""

from pathlib import Path

import pytest

from spd.errors import MissingFileError, RunFormatError
from spd.files import run_location
from spd.files.run_location import locate_run


def touch(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()
    return directory


def test_a_directory_gives_its_last_checkpoint(tmp_path: Path) -> None:
    run = touch(tmp_path / "run", "final_config.yaml", "model_900.pth", "model_10000.pth", "model_last.pth", "tms.pth")
    files = locate_run(run)
    assert files.checkpoint == run / "model_10000.pth"
    assert files.directory == run
    assert files.config_path == run / "final_config.yaml"


def test_a_checkpoint_file_is_taken_as_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = touch(tmp_path / "run", "final_config.yaml", "model_900.pth", "model_10000.pth")
    monkeypatch.chdir(tmp_path)
    assert locate_run("run/model_900.pth").checkpoint == run / "model_900.pth"
    assert locate_run("run/model_900.pth").directory == run


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"gone: no such run: expected a run directory, a checkpoint"):
        locate_run(tmp_path / "gone")
    without_checkpoint = touch(tmp_path / "a", "final_config.yaml", "model.txt")
    with pytest.raises(MissingFileError, match=r"a: holds no checkpoint: expected files named model_<step>.pth"):
        locate_run(without_checkpoint)
    without_config = touch(tmp_path / "b", "model_1.pth")
    with pytest.raises(MissingFileError, match=r"b: holds no final_config.yaml, .* beside the checkpoint model_1.pth"):
        locate_run(without_config)
    with pytest.raises(MissingFileError, match=r"holds no final_config\.yaml"):
        locate_run(without_config / "model_1.pth")
    with pytest.raises(RunFormatError, match="is not a checkpoint"):
        locate_run(without_checkpoint / "final_config.yaml")


def test_an_unknown_example_lists_the_bundled_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_location, "EXAMPLES_DIRECTORY", tmp_path)
    for name in ("toy", "words"):
        touch(tmp_path / name, "final_config.yaml", "model_5.pth")
    touch(tmp_path / "__pycache__")
    assert locate_run("example:toy").checkpoint == tmp_path / "toy" / "model_5.pth"
    for name in ("tyo", "../toy", ""):
        with pytest.raises(MissingFileError, match="no such bundled example: there are toy, words"):
            locate_run(f"example:{name}")


def test_paths_in_a_config_are_tried_from_here_then_from_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = touch(tmp_path / "run", "final_config.yaml", "model_1.pth")
    here, beside = touch(tmp_path / "here"), touch(tmp_path / "run" / "target", "weights.pth")
    monkeypatch.chdir(here)
    files = locate_run(run)
    assert files.resolve("target/weights.pth") == beside / "weights.pth"
    mine = touch(here / "target", "weights.pth")
    assert files.resolve("target/weights.pth") == mine / "weights.pth"
    assert files.resolve(str(beside / "weights.pth")) == beside / "weights.pth"
    assert files.resolve("target/gone.pth") is None
    assert files.resolve("org/a-hub-name") is None
