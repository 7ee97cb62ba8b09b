"""Memberships on disk that are written again, and statistics that decide what is dead."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import read_parts, write_index
from spd.clustering.memberships.part import PartSlot
from spd.clustering.memberships.part_writer import PartWriter
from spd.errors import ActivationsError, DamagedFileError, SPDError

LABELS = ["m:0", "m:1", "m:2"]


def _write(directory: Path, bounds: list[int]) -> np.ndarray:
    """Parts of a matrix of booleans between the bounds; m:1 is never active."""
    matrix = np.random.default_rng(0).random((bounds[-1], 3)) < [0.6, 0.0, 0.6]
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        with PartWriter(directory, PartSlot("a", number, len(bounds) - 1), LABELS, is_soft=False) as writer:
            rows = matrix[first:last]
            writer.append(rows.sum(axis=1), np.nonzero(rows)[1], None)
            writer.finish(rows.max(axis=0).astype(float), rows.sum(axis=0).astype(float))
    write_index(directory, read_parts(directory, "a", len(bounds) - 1), LABELS, [])
    return matrix


def test_nothing_replaces_what_it_is_read_from(tmp_path: Path) -> None:
    """Without the column that is never active there are as many entries, under other numbers."""
    directory = tmp_path / "m"
    matrix = _write(directory, [0, 5, 12])
    opened = Memberships.open(directory)
    (tmp_path / "link").symlink_to(directory)
    for some in (opened, opened.select(np.array([True, False, True])), opened.take_rows(np.arange(3))):
        assert some.directory == directory
        for place in (directory, tmp_path / "link"):
            with pytest.raises(ActivationsError, match="cannot replace what they are read from: save them elsewhere"):
                some.save(place)
    assert np.array_equal(Memberships.open(directory).to_scipy().toarray(), matrix)


def test_nothing_of_the_former_parts_is_left(tmp_path: Path) -> None:
    _write(tmp_path / "m", [0, 5, 8, 12])
    (tmp_path / "m" / ".part-00002.indices.x.tmp.npy").touch()
    made = Memberships.from_activations(np.eye(3, dtype=bool), LABELS, None)
    assert made.directory is None
    made.save(tmp_path / "m")
    assert np.array_equal(Memberships.open(tmp_path / "m").indices, [0, 1, 2])
    names = ("part-00000.json", *(f"part-00000.{name}.npy" for name in ("columns", "indices", "lengths")))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["index.json", *sorted(names)]


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    made = Memberships.from_activations(np.eye(3, dtype=bool), LABELS, None)
    with pytest.raises(SPDError, match=r"m.*: cannot be written: "):
        made.save(tmp_path / "m")
    assert (tmp_path / "m").is_file()


def test_statistics_that_were_changed_are_not_believed(tmp_path: Path) -> None:
    """They say which components are dead."""
    _write(tmp_path, [0, 5, 12])
    path = tmp_path / "part-00001.columns.npy"
    columns = np.load(path)
    columns[0] = 0
    np.save(path, columns)
    with pytest.raises(DamagedFileError, match=r"part-00001\.columns\.npy: is not what was written"):
        write_index(tmp_path, read_parts(tmp_path, "a", 2), LABELS, [])


def test_they_are_read_from_where_they_were_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = _write(tmp_path / "m", [0, 5, 12])
    monkeypatch.chdir(tmp_path)
    opened = Memberships.open("m")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert np.array_equal(opened.to_scipy().toarray(), matrix)
