"""Memberships on disk: written as a stream and read again, as a ratio to `dd` of as many bytes in the same directory.

    python -m benchmarks.storage --samples 6000000 --components 10000 --active 200     1.2 billion entries, 2.4 GB

Entries are drawn once, some million of them, and written over and over: what is measured is the disk and the checks,
not the generator. "read" is a pass over all blocks, with every check of their structure; "count" is what a merge reads
first; both find the file in the system's cache where it is large enough, and so does dd, which reads it right before.
On a busy machine the seconds of the processor say more.
"""

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Times = tuple[float, float]
"""Seconds by the clock, and of the processor."""
_ROWS = 20_000
"""Rows that are drawn, and appended at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=500_000)
    parser.add_argument("--active", type=int, default=200, help="components that are active on a sample")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; default: that of temporary files")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="storage-", dir=arguments.directory))
    try:
        _measure(directory, arguments.components, arguments.samples, arguments.active)
    finally:
        shutil.rmtree(directory)


def _measure(directory: Path, n_components: int, n_samples: int, n_active: int) -> None:
    from spd.clustering.memberships import Memberships
    from spd.clustering.memberships.directory import check_contents

    n_entries = n_samples * n_active
    print(f"{n_samples:,} samples x {n_components:,} components, {n_entries:,} entries", flush=True)
    _write(directory / "warm", n_components, _ROWS, n_active)  # compile before anything is timed
    before = _resident()
    dd_write = _seconds(lambda: _dd("if=/dev/zero", f"of={directory / 'zeros'}", _blocks(2 * n_entries), "conv=fsync"))
    _tell("dd, writing", dd_write, n_entries)
    (directory / "zeros").unlink()
    written = _seconds(lambda: _write(directory / "m", n_components, n_samples, n_active))
    _tell("writing", written, n_entries, dd_write)
    source = directory / "m" / "part-00000.indices.npy"
    dd_read = _seconds(lambda: _dd(f"if={source}", "of=/dev/null"))
    _tell("dd, reading", dd_read, n_entries)
    _tell("reading", _seconds(lambda: _read(Memberships.open(directory / "m"))), n_entries, dd_read)
    counted = Memberships.open(directory / "m")
    _tell("counting", _seconds(lambda: counted.entry_counts), n_entries, dd_read)
    assert int(counted.entry_counts.sum()) == counted.nnz == n_entries
    _tell("checksums", _seconds(lambda: check_contents(directory / "m")), n_entries, dd_read)
    print(f"resident at most {_resident():,.0f} MB, {_resident() - before:,.0f} MB more than before", flush=True)


def _write(directory: Path, n_components: int, n_samples: int, n_active: int) -> None:
    from spd.clustering.memberships.directory import write_index
    from spd.clustering.memberships.part import PartSlot
    from spd.clustering.memberships.part_writer import PartWriter

    steps = np.random.default_rng(0).integers(1, n_components // n_active + 1, size=(_ROWS, n_active))
    drawn = (np.cumsum(steps, axis=1) - 1).astype(np.int32)  # ascending, and below n_components
    labels = [f"m:{i}" for i in range(n_components)]
    with PartWriter(directory, PartSlot("benchmark"), labels, is_soft=False) as writer:
        for first in range(0, n_samples, _ROWS):
            some = drawn[: n_samples - first]
            writer.append(np.full(len(some), n_active, np.int64), some.ravel(), None)
        part = writer.finish(np.ones(n_components), np.ones(n_components))
    write_index(directory, [part], set(labels), [])


def _read(memberships: object) -> None:
    for _ in memberships.blocks():  # type: ignore[attr-defined]
        pass


def _dd(*operands: str) -> None:
    subprocess.run(["dd", "bs=4M", "status=none", *operands], check=True)


def _blocks(n_bytes: int) -> str:
    return f"count={-(-n_bytes // (4 << 20))}"


def _seconds(work: Callable[[], object]) -> Times:
    """Those of a child included."""
    wall, processor = time.perf_counter(), _processor()
    work()
    return time.perf_counter() - wall, _processor() - processor


def _processor() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _tell(what: str, seconds: Times, n_entries: int, reference: Times | None = None) -> None:
    wall, processor = seconds
    ratio = "" if reference is None else f"  {wall / reference[0]:.2f} x dd"
    speed = f"{2 * n_entries / wall / 1e9:6.2f} GB/s"
    print(f"{what:<12} {wall:8.2f} s, {processor:6.2f} s of processor  {speed}{ratio}", flush=True)


def _resident() -> float:
    """MB, the peak of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
