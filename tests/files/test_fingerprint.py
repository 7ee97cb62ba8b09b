import hashlib
import os
from pathlib import Path

import pytest

from spd.errors import MissingFileError
from spd.files.fingerprint import fingerprint


def test_size_and_checksum_of_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"", b"abc", b"abd", b"x" * (1 << 20)):
        path.write_bytes(content)
        assert fingerprint(path) == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with pytest.raises(MissingFileError, match="none: no such file"):
        fingerprint(tmp_path / "none")


def test_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    os.utime(path, (1e9, 1e9))
    first = fingerprint(path)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert fingerprint(path) == first
    path.write_bytes(b"abd")
    assert fingerprint(path)["sha256"] == hashlib.sha256(b"abd").hexdigest()
