"""Vectors written piece by piece are plain .npy files, whole or not there, and checked as they are opened."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from spd.errors import DamagedFileError, MissingFileError
from spd.files import npy_stream
from spd.files.npy_stream import VectorFile, VectorWriter


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("sizes", [[], [0], [3], [5, 0, 7, 1000]])
def test_pieces_are_one_array(
    tmp_path: Path, dtype: type[np.generic], sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy_stream, "_HASHED_ASIDE", 16)
    monkeypatch.setattr(npy_stream, "_HASHED_BYTES", 64)
    path = tmp_path / "deeper" / "v.npy"
    pieces = [np.arange(size) for size in sizes]
    with VectorWriter(path, dtype) as writer:
        for piece in pieces:
            writer.append(piece)
            piece[:] = 0  # what was appended is the writer's
        record = writer.finish()
    expected = np.concatenate([np.arange(size) for size in [0, *sizes]]).astype(dtype)
    assert np.array_equal(np.load(path), expected)
    assert np.load(path).dtype == dtype
    assert record == {
        "file": "v.npy",
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(expected.tobytes()).hexdigest(),
    }
    file = VectorFile(path, dtype, len(expected))
    assert file.sha256() == record["sha256"]
    assert np.array_equal(file.mapped(), expected)
    first, last = min(2, len(expected)), min(4, len(expected))
    assert np.array_equal(file.read(first, last), expected[first:last])
    assert [entry.name for entry in path.parent.iterdir()] == ["v.npy"]


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_text("before")
    with VectorWriter(tmp_path / "v.npy", np.int32) as writer:
        writer.append(np.arange(1000))
    assert (tmp_path / "v.npy").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with pytest.raises(MissingFileError, match=r"v\.npy: no such file"):
        VectorFile(path, np.int32, 4)
    np.save(path, np.arange(4, dtype=np.int32))
    opened = VectorFile(path, np.int32, 4)
    for dtype, length in ((np.int64, 4), (np.int32, 5)):
        with pytest.raises(DamagedFileError, match=r"is int32 of shape \(4,\), expected"):
            VectorFile(path, dtype, length)
    content = path.read_bytes()
    for cut in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(DamagedFileError, match=r"v\.npy"):
            VectorFile(path, np.int32, 4)
    with pytest.raises(DamagedFileError, match="ends before its value 4: it was cut while it was read"):
        opened.read(0, 4)
    path.write_bytes(content + b"x")
    with pytest.raises(DamagedFileError, match="has 145 bytes, expected 144"):
        VectorFile(path, np.int32, 4)
    np.save(path, np.array([{}] * 4), allow_pickle=True)
    with pytest.raises(DamagedFileError, match="pickled objects are not read"):
        VectorFile(path, np.int32, 4)
