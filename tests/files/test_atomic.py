"""Outputs: whole or not at all where there is a regular file, written through to everything else, never replaced."""

import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from spd.errors import MissingFileError, SPDError
from spd.files.atomic import atomic_write, write_output
from spd.files.checked import write_json, write_npz

Content = str | bytes | Callable[[IO[bytes]], object]
NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)


def device(path: Path, number: int) -> Path:
    """A device like /dev/null of the test's own: a fault here must not cost the machine's."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, number)
        path.write_bytes(b"")
    except OSError:
        pytest.skip("no device can be made here")
    return path


@pytest.mark.parametrize("content", ["täxt\n", "täxt\n".encode(), lambda file: file.write("täxt\n".encode())])
def test_a_regular_file(tmp_path: Path, content: Content) -> None:
    path = tmp_path / "deep" / "a.csv"
    write_output(path, content)
    assert path.read_text(encoding="utf-8") == "täxt\n"
    path.chmod(0o640)
    before = path.stat().st_ino
    write_output(path, content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before  # a new file in its place, not the old one cut and filled
    assert os.listdir(path.parent) == ["a.csv"]


def test_text_with_half_a_character_is_written(tmp_path: Path) -> None:
    write_output(tmp_path / "a.txt", "a\ud800b")
    assert (tmp_path / "a.txt").read_text() == "a\\ud800b"


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    path = device(tmp_path / "null", NULL)
    write_output(path, "x")
    write_json(path, {"a": 1})
    write_npz(path, {"a": np.arange(3)})  # a zip file is not written in one go: made elsewhere, then copied
    assert path.is_char_device()
    assert os.listdir(tmp_path) == ["null"]


def test_a_full_device(tmp_path: Path) -> None:
    path = device(tmp_path / "full", FULL)
    with pytest.raises(SPDError, match=r"full: cannot be written: No space left on device"):
        write_output(path, "x")
    assert path.is_char_device()


def test_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()), daemon=True)
    reader.start()
    write_output(path, "x" * 200_000)
    reader.join(timeout=20)
    assert got == ["x" * 200_000]
    assert path.is_fifo()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_its_file_is_written(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "data").mkdir()
    target, first, second = tmp_path / "data" / "real.json", tmp_path / "first", tmp_path / "second.json"
    if is_there:
        target.write_text("{}")
    first.symlink_to("data/real.json")
    second.symlink_to(first)
    write_json(second, {"a": 1})
    assert second.is_symlink()
    assert first.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert os.listdir(tmp_path / "data") == ["real.json"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SPDError, match="a: cannot be written: Too many levels of symbolic links"):
        write_output(tmp_path / "a", "x")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(SPDError, match="cannot be written: is a directory"), atomic_write(tmp_path):
        pytest.fail("found only after the work")


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_output(tmp_path / f"{'n' * 250}.json", "x")
    assert len(os.listdir(tmp_path)) == 1
    with pytest.raises(SPDError, match="cannot be written: File name too long"):
        write_output(tmp_path / ("n" * 256), "x")


WRITE = """
import sys
from spd.files.atomic import write_output
print('before')
write_output(sys.argv[1], 'x\\n')
print('after')
"""


def shell(command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run in bash, which knows process substitution; `$P` writes to its argument, and prints before and after."""
    environment = {**os.environ, "P": WRITE, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = command.replace("$P", f'"{sys.executable}" -c "$P"')
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, capture_output=True, text=True, env=environment, check=False, timeout=120
    )


def test_our_own_stdout(tmp_path: Path) -> None:
    assert shell("$P /dev/stdout", tmp_path).stdout == "before\nx\nafter\n"
    assert shell("$P /dev/stdout | cat", tmp_path).stdout == "before\nx\nafter\n"
    (tmp_path / "log").write_text("earlier\n")
    done = shell("$P /dev/stdout >> log; cat log", tmp_path)
    assert done.stdout == "earlier\nbefore\nx\nafter\n", done.stderr
    assert shell("$P /proc/self/fd/2 2> log; cat log", tmp_path).stdout == "before\nafter\nx\n"


def test_process_substitution(tmp_path: Path) -> None:
    done = shell("$P >(tr x y > got); sleep 0.2; cat got", tmp_path)
    assert done.stdout == "before\nafter\ny\n", done.stderr
    closed = shell("$P /dev/fd/77", tmp_path)
    assert "SPDError: /dev/fd/77: cannot be written: Bad file descriptor" in closed.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def write_array(file: IO[bytes]) -> None:
    np.save(file, np.zeros(100_000))  # numpy's own error has no number: "100000 requested and 16368 written"


def test_a_full_disk_is_named(small_disk: Path) -> None:
    path = small_disk / "a.json"
    write_json(path, {"a": 1})
    big = np.random.default_rng(0).integers(0, 2**60, 100_000)
    for write in (
        lambda: write_output(path, "x" * 2**20),
        lambda: write_output(path, write_array),
        lambda: write_npz(path, {"a": big}),
        lambda: write_json(path, big.tolist()),
    ):
        with pytest.raises(SPDError, match=r"^\S*/disk/a\.json: cannot be written: No space left on device$"):
            write()
        assert path.read_text() == '{\n  "a": 1\n}\n'
        assert os.listdir(small_disk) == ["a.json"]


def test_a_file_larger_than_the_limit(tmp_path: Path) -> None:
    """What a quota gives where no file system can be mounted."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        contents: list[Content] = ["x" * 2**20, write_array]
        for content in contents:
            with pytest.raises(SPDError, match=r"a\.bin: cannot be written: File too large$"):
                write_output(tmp_path / "a.bin", content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path)


def test_errors_that_are_not_the_disks_pass(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"^other: no such file$"), atomic_write(tmp_path / "a"):
        raise MissingFileError("other: no such file")
    with pytest.raises(RuntimeError, match="something else"), atomic_write(tmp_path / "a"):
        raise RuntimeError("something else")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a"):
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)
