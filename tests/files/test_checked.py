"""Damaged and hostile files are refused with one sentence that names the file; what is written is read back."""

import contextlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.atomic import atomic_write
from spd.files.checked import open_zip, read_json, read_npz, read_zip_bytes, write_json, write_npz


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_come_back_as_they_were(tmp_path: Path, compressed: bool) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.int16).reshape(3, 4),
        "empty": np.zeros((0, 5), np.float32),
        "text": np.array(["x:0", "y:12"]),
        "fortran": np.asfortranarray(np.random.default_rng(0).random((4, 3))),
        "scalar": np.array(3.5),
    }
    path = tmp_path / "a.npz"
    write_npz(path, arrays, compressed=compressed)
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert list(read_npz(path, ["a"])) == ["a"]
    assert os.listdir(tmp_path) == ["a.npz"]


def _refused(path: Path) -> str:
    with pytest.raises(DamagedFileError) as caught:
        read_npz(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_hostile_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    _zip(path, {"a.npy": _npy(np.array([Evil()], dtype=object))})
    assert "pickled objects are not read" in _refused(path)
    assert not (tmp_path / "owned").exists()
    _zip(path, {"a.npy": pickle.dumps(Evil())})
    _refused(path)
    assert not (tmp_path / "owned").exists()

    header = _npy(np.zeros(3)).replace(b"(3,), }", b"(10000000000000,), }"[:20])
    _zip(path, {"a.npy": header})
    _refused(path)

    huge = b"{'descr': '<f8', 'fortran_order': False, 'shape': (13421772800,), }".ljust(117) + b"\n"
    _zip(path, {"a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(huge)) + huge + b"\0" * 64})
    assert "107,374,182,400 bytes" in _refused(path)

    negative = b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -4), }".ljust(117) + b"\n"
    _zip(path, {"a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(negative)) + negative + b"\0" * 64})
    _refused(path)


def test_a_member_that_claims_100_gb_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb.npz", {"a.npy": _npy(np.zeros(1000))})
    raw = bytearray(path.read_bytes())
    central = raw.rindex(b"PK\x01\x02")
    raw[central + 24 : central + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(raw)
    assert "claims 4,294,967,294 bytes" in _refused(path)

    path = _zip(tmp_path / "large.npz", {"a.npy": _npy(np.zeros(100_000))})
    with pytest.raises(DamagedFileError, match="at most 1,000 are read"):
        read_npz(path, max_bytes=1000)
    with open_zip(path) as archive, pytest.raises(DamagedFileError, match="at most 10 are read"):
        read_zip_bytes(archive, path, "a.npy", max_bytes=10)


@given(cut=st.integers(0, 899), flip=st.one_of(st.none(), st.integers(0, 7)))
def test_truncated_and_altered_files_are_refused_or_read_right(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int | None
) -> None:
    array = np.random.default_rng(0).random(100)
    path = tmp_path_factory.mktemp("cut") / "a.npz"
    write_npz(path, {"a": array}, compressed=False)
    raw = bytearray(path.read_bytes())
    assert len(raw) > 900
    if flip is None:
        path.write_bytes(raw[:cut])
        _refused(path)
        return
    raw[cut] ^= 1 << flip
    path.write_bytes(raw)
    with contextlib.suppress(DamagedFileError):  # a bit of the local header may be one that nothing reads
        np.testing.assert_array_equal(read_npz(path)["a"], array)


def test_files_that_are_no_zip(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_npz(tmp_path / "none.npz")
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    assert "is empty" in _refused(path)
    path.write_bytes(b"hello")
    _refused(path)
    _zip(path, {"b.npy": _npy(np.zeros(2))})
    with pytest.raises(DamagedFileError, match="lacks 'a'"):
        read_npz(path, ["a"])
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.npy", _npy(np.zeros(3)))
    assert "twice" in _refused(path)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": [1, 2]})
    assert read_json(path, required=["a"]) == {"a": [1, 2]}
    with pytest.raises(DamagedFileError, match="lacks 'b'"):
        read_json(path, required=["a", "b"])
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')  # a byte order mark, as some editors write it
    assert read_json(path) == {"a": 1}
    for content in ["", "{", "[1]", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]:
        path.write_text(content, encoding="latin-1")
        with pytest.raises(DamagedFileError) as caught:
            read_json(path)
        assert str(path) in str(caught.value)
    with pytest.raises(MissingFileError):
        read_json(tmp_path / "none.json")
    with pytest.raises(SPDError, match="cannot be read"):
        read_json(tmp_path / "deep")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text(str(1 // 0))
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]
    with pytest.raises(SPDError, match="cannot be written"):
        write_json(path / "below" / "a.json", {})
