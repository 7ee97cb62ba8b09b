"""Numba's cache, damaged or without a place, in processes of their own: one warning, and the right result."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

KERNEL = """
@kernel()
def f{k}(x):
    return x + {k}
"""
RUN = """
import json, logging, os, sys
import numba
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
numba.njit(lambda x: x + 1)(1)  # what numba imports late is there before another user may not read it
if "BECOME" in os.environ:
    number = int(os.environ["BECOME"])
    os.setgid(number)
    os.setuid(number)
sys.path.insert(0, sys.argv[1])
import kernels
if "FULL" in os.environ:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
found = [getattr(kernels, name) for name in dir(kernels) if name[0] == "f"]
print(json.dumps({f.__name__: [f(10), sum(f.stats.cache_hits.values())] for f in found}))
"""
N_KERNELS = 8


def write_kernels(directory: Path, n: int = N_KERNELS) -> Path:
    """A module of kernels that add 0, 1, 2, ..., compiled in no time."""
    directory.mkdir()
    content = "".join(KERNEL.format(k=k) for k in range(n))
    (directory / "kernels.py").write_text(f"from spd.clustering.math.kernels.jit import kernel\n{content}")
    return directory


def run(directory: Path, cwd: Path | None = None, **environment: str) -> tuple[dict[str, Any], str]:
    """By kernel: its result for 10, and whether it was in the cache; and what went to stderr."""
    ours = ("SPD_KERNEL_CACHE_WARNED", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    code = [sys.executable, "-c", RUN, str(directory)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    whole = {**inherited, **paths, **environment}
    done = subprocess.run(code, capture_output=True, text=True, env=whole, cwd=cwd, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def results(n_hits: int, n: int = N_KERNELS) -> dict[str, list[int]]:
    return {f"f{k}": [10 + k, n_hits] for k in range(n)}


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    directory, cache = write_kernels(tmp_path / "package"), str(tmp_path / "cache")
    assert run(directory, NUMBA_CACHE_DIR=cache) == (results(0), "")
    assert run(directory, NUMBA_CACHE_DIR=cache) == (results(1), "")

    def file(k: int, ending: str) -> Path:
        (found,) = (tmp_path / "cache").glob(f"*/kernels.f{k}-*{ending}")
        return found

    whole = file(3, "nbc").read_bytes()
    file(0, "nbi").write_bytes(b"")
    file(1, "nbi").write_bytes(file(1, "nbi").read_bytes()[:-40])
    file(2, "nbi").write_bytes(b"no pickle")
    file(3, "nbc").write_bytes(whole[: len(whole) // 2])
    file(4, "nbc").write_bytes(b"")
    changed = bytearray(file(5, "nbc").read_bytes())
    changed[len(changed) // 2] ^= 1  # in the machine code: unpickled and run, it might do anything
    file(5, "nbc").write_bytes(changed)
    file(6, "nbc").unlink()
    got, warned = run(directory, NUMBA_CACHE_DIR=cache)
    assert got == {**results(0), "f7": [17, 1]}
    assert len(warned.splitlines()) == 1
    assert warned.startswith("WARNING spd.clustering.math.kernels.jit numba's cache in ")
    assert " is damaged: kernels are compiled again (EOFError: " in warned
    assert run(directory, NUMBA_CACHE_DIR=cache) == (results(1), "")


def test_a_kernel_that_changed_is_compiled_again(tmp_path: Path) -> None:
    directory, cache = write_kernels(tmp_path / "package", 1), str(tmp_path / "cache")
    run(directory, NUMBA_CACHE_DIR=cache)
    (directory / "other.py").write_text("# new")  # any file of the folder: a kernel holds what it calls in other files
    assert run(directory, NUMBA_CACHE_DIR=cache) == (results(0, 1), "")


def test_processes_that_start_together_compile_each_kernel_once(tmp_path: Path) -> None:
    n_processes = 3
    directory, cache = write_kernels(tmp_path / "package"), str(tmp_path / "cache")
    with ThreadPoolExecutor(n_processes) as pool:
        runs = list(pool.map(lambda _: run(directory, NUMBA_CACHE_DIR=cache), range(n_processes)))
    assert [warned for _, warned in runs] == [""] * n_processes
    for name in results(0):
        assert sorted(found[name][1] for found, _ in runs) == [0] + [1] * (n_processes - 1)


@pytest.mark.parametrize("user", ["65534", "54321"])
def test_no_place_for_a_cache(tmp_path: Path, user: str) -> None:
    """Nobody's home is no directory; a user without a name, as in a container, has none at all."""
    directory = write_kernels(tmp_path / "package", 2)
    directory.chmod(0o555)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd").chmod(0o777)
    unwritable = {"HOME": str(directory), "NUMBA_CACHE_DIR": str(directory)} if user == "65534" else {}
    if os.geteuid() == 0:
        unwritable["BECOME"] = user
    elif user != "65534":
        pytest.skip("only root can become another user")
    got, warned = run(directory, tmp_path / "cwd", **unwritable)
    assert got == results(0, 2)
    assert len(warned.splitlines()) == 1
    assert "numba finds no place for a cache, so kernels are compiled again in each process" in warned
    assert "set NUMBA_CACHE_DIR" in warned
    assert sorted(os.listdir(directory)) == ["kernels.py"]
    assert not os.listdir(tmp_path / "cwd")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    directory = write_kernels(tmp_path / "package", 2)
    got, warned = run(directory, NUMBA_CACHE_DIR=str(tmp_path / "cache"), FULL="1")
    assert got == results(0, 2)
    assert len(warned.splitlines()) == 1
    assert "compiled kernels cannot be kept in " in warned
    assert "File too large" in warned
    assert not [path for path in (tmp_path / "cache").glob("*/*") if path.stat().st_size]


def test_without_compilation(tmp_path: Path) -> None:
    """With NUMBA_DISABLE_JIT numba gives back the plain function, which has no cache."""
    code = "from spd.clustering.math.kernels.jit import kernel; print(kernel()(lambda x: x + 1)(1))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "2\n"
