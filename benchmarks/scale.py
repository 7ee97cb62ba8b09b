"""Merging what does not fit memory twice: planted as a stream to parts on disk, merged from there in fresh processes.

    python -m benchmarks.scale [--samples 6000000] [--components 10000] [--active 200] [--keep DIRECTORY]
                               [--merges greedy,rank] [--ranks 1,2] [--cores N] [--groups]

For each merge: seconds until the first coactivations are counted and until all merges are made, peak memory, bytes an
entry beyond what the process had before, and from these the job of 30,000,000 samples x 10,007 components with 5.7
billion entries by arithmetic. greedy: alpha 1; rank: exp_rank, decay 0.8, alpha 10. With --ranks 1,2 each merge is also
divided over two processes of this machine, with half of the cores each, and checked to be the same. With --keep the
data stay, and are taken again by a later call of the same sizes. With --groups the groups are found last, control
included: seconds and memory, against those that `--dry-run` would tell.
"""

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

MERGES = {"greedy": ("range", 0.0, 1.0), "rank": ("exp_rank", 0.8, 10.0)}
GOALS = {"greedy": "at most 240 s, 9 GB, 6.5 bytes an entry", "rank": "at most 1.5 x greedy"}
LARGE_JOB = {"samples": 30_000_000, "components": 10_007, "entries": 5.7e9}


def plant(directory: Path, n_components: int, n_samples: int, n_active: float) -> None:
    """Write planted memberships as two parts; prints how fast."""
    from benchmarks.planted import planted_blocks
    from spd.clustering.memberships.directory import write_index
    from spd.clustering.memberships.part import PartSlot
    from spd.clustering.memberships.part_writer import PartWriter

    labels = [f"planted:{component}" for component in range(n_components)]
    nothing, parts, written, n_entries = np.zeros(n_components), [], 0.0, 0
    for number in range(2):
        n_own = n_samples * (number + 1) // 2 - n_samples * number // 2
        with PartWriter(directory, PartSlot("planted", number, 2), labels, is_soft=False) as writer:
            for block in planted_blocks(n_components, n_own, n_active, seed=number):
                started = time.perf_counter()
                writer.append(block.lengths, block.indices, None)
                written += time.perf_counter() - started
            n_entries += writer.nnz
            parts.append(writer.finish(nothing, nothing))
    write_index(directory, parts, set(labels), [])
    size = sum(path.stat().st_size for path in directory.iterdir())
    pace = f"{size / 1e9:.2f} GB, {size / written / 1e6:.0f} MB/s"
    print(f"{'written':<34} {written:>8.1f} s   {n_entries:,} entries, {pace}", flush=True)


def merge_here(directory: Path, which: str, memory_limit_gb: float, is_distributed: bool) -> dict[str, Any]:
    """One merge in this process, compiled before; what it took."""
    from benchmarks.merge import warm_up
    from spd.clustering.execution.process_group import join_ranks
    from spd.clustering.execution.rank_place import place_of
    from spd.clustering.memberships import Memberships
    from spd.clustering.merge_engine.drive import drive_engine
    from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
    from spd.clustering.merge_engine.ranks import ALONE
    from spd.machine import available_cores, peak_bytes

    ranks = join_ranks(place_of(os.environ)) if is_distributed else ALONE
    warm_up("greedy" if which == "greedy" else "exp_rank")
    before, started = peak_bytes(), time.perf_counter()
    memberships = Memberships.open(directory)
    sampler, parameter, alpha = MERGES[which]
    n = memberships.n_components
    options = EngineOptions(
        sampler, parameter, alpha, n - 1, memory=int(memory_limit_gb * 1e9), n_threads=available_cores()
    )
    engine = MergeEngine(memberships, options, np.random.default_rng(0), ranks)
    first = time.perf_counter() - started
    drive_engine(engine)
    pairs = hashlib.sha256(engine.pairs().tobytes()).hexdigest()
    return {
        "rank": ranks.rank,
        "first_s": first,
        "all_s": time.perf_counter() - started,
        "peak": peak_bytes(),
        "before": before,
        "n_entries": memberships.nnz,
        "n_samples": memberships.n_samples,
        "n_components": n,
        "rows": min(4 * n * n, options.memory),
        "pairs": pairs,
        "sums": getattr(ranks, "n_sums", 0),
        "sum_s": getattr(ranks, "seconds", 0.0),
    }


def find_here(directory: Path, n_threads: int) -> None:
    """Find the groups in this process, compiled before, and print what it took."""
    from benchmarks.planted import planted_memberships
    from spd.clustering.groups import find_groups
    from spd.clustering.groups.needs import search_bytes, search_seconds
    from spd.clustering.memberships import Memberships

    for active in (2.0, 40.0):  # pairs that seldom occur are counted by other kernels
        find_groups(planted_memberships(200, 2_000, active), n_threads=n_threads)
    memberships = Memberships.open(directory)
    size = memberships.n_samples, memberships.n_components, memberships.nnz / memberships.n_samples
    stages: dict[str, float] = {}
    before, started = anonymous_bytes(), time.perf_counter()
    seen = [before]

    def watch() -> None:
        while True:
            seen[0] = max(seen[0], anonymous_bytes())
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()

    def look(stage: str, done: int, total: int) -> None:
        if done == total:
            stages[f"{stage} ({'control' if stage in stages else 'groups'})"] = time.perf_counter() - started
            stages[stage] = 0.0

    found = find_groups(memberships, n_threads=n_threads, progress=look)
    seconds, peak = time.perf_counter() - started, seen[0]
    print(
        f"{'groups, with control':<34} {seconds:>8.1f} s   {found.n_groups:,} groups, {found.control}; peak "
        f"{(peak - before) / 1e9:.2f} GB, {(peak - before) / memberships.nnz:.2f} bytes an entry; by needs.py "
        f"{search_seconds(*size, n_threads):.0f} s and {search_bytes(*size) / 1e9:.2f} GB"
    )
    for stage, seconds in stages.items():
        if seconds:
            print(f"{'':<34} {seconds:>8.1f} s   until the end of: {stage}")


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) * 1024


def merge_in_processes(directory: Path, which: str, n_ranks: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What rank 0 says of a merge by so many fresh processes, with the cores divided between them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-m", "benchmarks.scale", "--here", str(directory), "--merges", which]
    command += ["--memory-limit-gb", str(arguments.memory_limit_gb), *(["--distributed"] if n_ranks > 1 else [])]
    cores = max(1, arguments.cores // n_ranks)
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **meeting, "RANK": str(rank), "OMP_NUM_THREADS": str(cores)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_ranks)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a merge has failed")
    return json.loads(outputs[0])


def tell(which: str, n_ranks: int, found: dict[str, Any]) -> None:
    """Seconds, memory, and what the large job would take."""
    n_entries, n_samples = found["n_entries"], found["n_samples"]
    own = n_entries / n_ranks
    bytes_an_entry = (found["peak"] - found["before"] - found["rows"]) / own
    name = which if n_ranks == 1 else f"{which}, {n_ranks} ranks"
    print(
        f"{name:<34} {found['all_s']:>8.1f} s   {found['first_s']:.1f} s until counted; peak "
        f"{found['peak'] / 1e9:.2f} GB, {bytes_an_entry:.2f} bytes an entry beyond {found['rows'] / 1e9:.2f} GB of "
        "coactivations"
        + (f"; {found['sums']:,} sums in {found['sum_s']:.1f} s" if n_ranks > 1 else f"   goal {GOALS[which]}"),
        flush=True,
    )
    if n_ranks > 1:
        return
    active, n_large = n_entries / n_samples, LARGE_JOB["entries"]
    active_large = n_large / LARGE_JOB["samples"]
    pairs = n_large * active_large / (n_entries * active)
    seconds = found["first_s"] * pairs + (found["all_s"] - found["first_s"]) * n_large / n_entries
    memory = found["before"] + bytes_an_entry * n_large + 4 * LARGE_JOB["components"] ** 2
    print(
        f"{'':<34} {seconds / 60:>8.1f} min and {memory / 1e9:.0f} GB for {LARGE_JOB['samples']:,} x "
        f"{LARGE_JOB['components']:,}, {n_large / 1e9:.1f} billion entries, by arithmetic: counting as entries x "
        f"active ({pairs:.2f} x), merging as entries ({n_large / n_entries:.2f} x), {bytes_an_entry:.2f} bytes each",
        flush=True,
    )


def main(argv: list[str] | None = None) -> None:
    """What the module says, in this process or in others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6_000_000)
    parser.add_argument("--components", type=int, default=10_000)
    parser.add_argument("--active", type=float, default=200.0)
    parser.add_argument("--merges", default="greedy,rank")
    parser.add_argument("--ranks", default="1")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory-limit-gb", type=float, default=3.0, help="of coactivations")
    parser.add_argument("--keep", type=Path, help="where the data are, or will be")
    parser.add_argument("--here", type=Path, help="merge this directory in this process, and print JSON")
    parser.add_argument("--distributed", action="store_true", help="with --here: as one of several ranks")
    parser.add_argument("--groups", action="store_true", help="find the groups, too; with --here: only them")
    arguments = parser.parse_args(argv)
    if arguments.here is not None and arguments.groups:
        find_here(arguments.here, arguments.cores)
    elif arguments.here is not None:
        found = merge_here(arguments.here, arguments.merges, arguments.memory_limit_gb, arguments.distributed)
        print(json.dumps(found))
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Plant unless it is there, then merge, then find the groups."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.keep or Path(temporary)
        if not (directory / "index.json").is_file():
            directory.mkdir(parents=True, exist_ok=True)
            plant(directory, arguments.components, arguments.samples, arguments.active)
        for which in filter(None, arguments.merges.split(",")):
            alone: dict[str, Any] = {}
            for n_ranks in map(int, arguments.ranks.split(",")):
                found = merge_in_processes(directory, which, n_ranks, arguments)
                tell(which, n_ranks, found)
                if alone and found["pairs"] != alone["pairs"]:
                    raise SystemExit(f"{n_ranks} ranks made other merges")
                if alone:
                    ratio = found["all_s"] / alone["all_s"]
                    print(f"{'':<34} {ratio:>8.2f} x one process with the same cores, same merges   goal 1.3 x")
                alone = alone or found
        if arguments.groups:
            command = [sys.executable, "-m", "benchmarks.scale", "--here", str(directory), "--groups"]
            subprocess.run([*command, "--cores", str(arguments.cores)], check=True)


if __name__ == "__main__":
    main()
