"""What a merge is said to take is what it takes: bytes within a quarter, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.needs import MergeSize
from spd.clustering.merge_engine.representation import choose
from tests.clustering.merge_engine.test_engine import finished
from tests.planted import memberships_of

MERGE = """
import sys
import numpy as np
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.machine import peak_bytes

def merge(directory):
    memberships = Memberships.open(directory)
    n_merges = memberships.n_components // 2 + 1
    rules = EngineOptions("range", 0.0, 1.0, n_merges, memory=int(sys.argv[3]), use_bits=False)
    MergeEngine(memberships, rules, np.random.default_rng(0)).advance(n_merges)

merge(sys.argv[1])  # loads the kernels
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * 4096
merge(sys.argv[2])
print(peak_bytes() - before)
"""


def spread_out(n: int, n_samples: int, n_active: int) -> Memberships:
    """One component of each of n_active stretches of them is active on every sample."""
    rng, width = np.random.default_rng(0), n // n_active
    indices = rng.integers(0, width, n_samples * n_active, dtype=np.int32)
    indices += np.tile(np.arange(n_active, dtype=np.int32) * width, n_samples)
    return Memberships(np.arange(n_samples + 1) * n_active, indices, None, [f"m:{i}" for i in range(n)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_samples", "n_active", "limit"),
    [(6000, 60_000, 100, 10**10), (2000, 400_000, 50, 10**10), (8000, 80_000, 80, 10**8)],
)
def test_bytes(tmp_path: Path, n: int, n_samples: int, n_active: int, limit: int) -> None:
    small = spread_out(100, 1000, 5)
    finished(small, use_bits=False)  # what is compiled here takes no memory there
    small.save(tmp_path / "small")
    spread_out(n, n_samples, n_active).save(tmp_path / "m")
    command = [sys.executable, "-c", MERGE, *map(str, (tmp_path / "small", tmp_path / "m", limit))]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout)
    told = MergeSize(n_samples, n, n_active).bytes(limit)
    assert told == pytest.approx(taken, rel=0.25)


def test_more_ranks_and_less_memory_take_less() -> None:
    size = MergeSize(30_000_000, 10_007, 190.0)
    alone = size.bytes(1e12)
    assert 34e9 < alone < 40e9
    assert size.bytes(1e12, n_ranks=4) < alone / 3
    assert size.bytes(1e8) < alone
    assert size.seconds(is_greedy=True, n_threads=2) < size.seconds(is_greedy=True, n_threads=1)
    assert size.seconds(is_greedy=True, n_threads=1, n_ranks=2) < size.seconds(is_greedy=True, n_threads=1)
    assert MergeSize(10**6, 100_000, 100.0).bytes(1e12) > 50e9


def test_it_expects_bitsets_where_the_engine_takes_them() -> None:
    for rate in (0.003, 0.5):
        memberships = memberships_of(np.random.default_rng(0).random((3000, 500)) < rate)
        size = MergeSize(3000, 500, memberships.nnz / 3000)
        assert size.uses_bits is choose(memberships, 1 << 30).use_bits
    assert not MergeSize(3000, 500, 250.0, is_soft=True).uses_bits
