"""Memberships on disk beyond what small integers count."""

import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import write_index
from spd.clustering.memberships.part import Part, PartSlot
from spd.clustering.memberships.part_writer import PartWriter
from spd.errors import DamagedFileError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a row or two."""
    monkeypatch.setattr("spd.clustering.math.sparse_rows.CHUNK", 32)


def test_columns_beyond_uint16(tmp_path: Path) -> None:
    labels = [f"a:{i}" for i in range(70_000)]
    indices = np.array([0, 65_535, 65_536, 69_999, 3], np.int32)
    made = Memberships(np.array([0, 4, 5]), indices, None, labels)
    made.save(tmp_path)
    back = Memberships.open(tmp_path)
    assert [block.indices.dtype for block in back.blocks()] == [np.uint32]
    assert back.indices.tolist() == indices.tolist()


def test_more_entries_than_32_bits_count(tmp_path: Path) -> None:
    """32,800 rows of 65,536 entries, 4.3 GB, of which the file holds only the last two rows: the rest are holes."""
    n_columns, n_rows = 65_536, 32_800
    labels = [f"m:{i}" for i in range(n_columns)]
    with PartWriter(tmp_path, PartSlot("a"), labels, is_soft=False) as writer:
        writer.append(np.array([1]), np.array([0]), None)
        part = writer.finish(np.ones(n_columns), np.ones(n_columns))
    n_entries = n_columns * n_rows
    assert n_entries > 2**31
    np.save(tmp_path / "part-00000.lengths.npy", np.full(n_rows, n_columns, np.int32))
    with (tmp_path / "part-00000.indices.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (n_entries,)})
        file.seek(2 * (n_entries - 2 * n_columns), 1)
        file.write(np.tile(np.arange(n_columns, dtype=np.uint16), 2).data)
    content = json.loads(part.path.read_text())
    part.path.write_text(json.dumps({**content, "n_samples": n_rows, "n_entries": n_entries}))
    write_index(tmp_path, [Part.read(part.path)], set(labels), [])
    opened = Memberships.open(tmp_path)
    assert opened.n_samples == n_rows
    kept = opened.take_rows(np.array([n_rows - 1, n_rows - 2]))
    assert (opened.nnz, int(opened.indptr[-2])) == (n_entries, n_entries - n_columns)
    assert kept.nnz == 2 * n_columns
    assert kept.indices.reshape(2, -1)[1].tolist() == list(range(n_columns))
    with pytest.raises(DamagedFileError, match="must be ascending"):
        next(opened.blocks())
