"""The merge: seconds, memory, and the ratio to the plain way, measured in the same run.

    python -m benchmarks.merge [--only small,standard,dense,largest,wide,first] [--scale 1.0]
    python -m benchmarks.merge --cores 1,2,4 [--scale 1.0]

small: n = 1,000 against the definition in numpy. standard: n = 10,000, each sampler, against scipy's X.T @ X.
dense: 40% active, against numpy's X.T @ X. largest: n = 10,000 on 2,000,000 samples. wide: n = 100,000. first: the
first call in a fresh process, compilation included. `largest` and `wide` take minutes and gigabytes, so they run only
when named. Each case runs in a process of its own, for its peak memory. --scale shortens samples and components.
--cores prints, for each number of cores, the seconds of the first coactivations, of all merges and of the groups found
(n = 5,000, N = 200,000, 100 active), and how many times as fast that is as with the first number; results must be the
same.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

CASES = ("small", "standard", "dense", "first")
LONG_CASES = ("largest", "wide")
LONG_MEMORY_GB = 3.0
"""What those may keep of coactivations: the default would take half of what the machine has."""
SAMPLERS = {
    "greedy": ("range", 0.0),
    "range 0.05": ("range", 0.05),
    "range 0.001": ("range", 0.001),
    "mcmc": ("mcmc", 1.0),
    "exp_rank": ("exp_rank", 0.2),
}


def merge_seconds(memberships, sampler: str = "greedy", memory_limit_gb: float | None = None) -> float:
    """Wall seconds of `merge_iteration` down to one group, first coactivations included."""
    import warnings

    from spd.clustering.merge import MergeRunOptions, merge_iteration
    from spd.clustering.merge_config import MergeConfig, MergeOptions

    method, parameter = SAMPLERS[sampler]
    name = {"range": "threshold", "mcmc": "temperature", "exp_rank": "decay"}[method]
    config = MergeConfig(iters=None, merge_pair_sampling_method=method, merge_pair_sampling_kwargs={name: parameter})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return seconds(
            lambda: merge_iteration(
                config,
                memberships,
                memberships.labels,
                rng=np.random.default_rng(0),
                run_options=MergeRunOptions(MergeOptions(memory_limit_gb=memory_limit_gb)),
            )
        )


def seconds(task: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def warm_up(*samplers: str) -> None:
    """Compile before anything is timed."""
    from benchmarks.planted import planted_memberships

    for sampler in samplers:
        merge_seconds(planted_memberships(200, 500, 10.0), sampler)


def plain_definition(x: np.ndarray) -> None:
    """Greedy by the definition: the full cost matrix in numpy at every iteration, the merged row recounted."""
    from spd.clustering.compute_costs import compute_merge_costs
    from spd.clustering.math.merge_matrix import GroupMerge

    active = x.astype(np.float32)
    coact = (active.T @ active).astype(np.float64)
    merge = GroupMerge.identity(x.shape[1])
    while merge.k_groups > 1:
        costs = compute_merge_costs(coact / len(x), merge)
        np.fill_diagonal(costs, np.inf)
        low, high = sorted(np.unravel_index(costs.argmin(), costs.shape))
        active[:, low] = np.maximum(active[:, low], active[:, high])
        active = np.delete(active, high, axis=1)
        coact = np.delete(np.delete(coact, high, axis=0), high, axis=1)
        row = active.T @ active[:, low]
        coact[low], coact[:, low] = row, row
        merge = merge.merge_groups(int(low), int(high))


def small(scale: float) -> None:
    from benchmarks.planted import planted_memberships

    n, n_samples = int(1_000 * scale), int(20_000 * scale)
    memberships = planted_memberships(n, n_samples, 50.0)
    warm_up("greedy")
    ours = min(merge_seconds(memberships) for _ in range(3))
    x = memberships.to_scipy().toarray() > 0
    plain = seconds(lambda: plain_definition(x))
    tell(f"n = {n:,}, N = {n_samples:,}", ours, "the definition in numpy", plain, "at least 100 x faster")


def standard(scale: float) -> None:
    from benchmarks.planted import planted_memberships

    n, n_samples = int(10_000 * scale), int(100_000 * scale)
    memberships = planted_memberships(n, n_samples, 50.0)
    warm_up(*SAMPLERS)
    matrix = memberships.to_scipy().astype(np.int64)
    name = f"n = {n:,}, N = {n_samples:,}"
    greedy, plain = np.inf, np.inf
    for _ in range(3):  # in turns, so that both meet the same machine
        greedy = min(greedy, merge_seconds(memberships))
        plain = min(plain, seconds(lambda: _gram(matrix)))
    tell(f"{name}, greedy", greedy, "scipy X.T @ X", plain, "at most 0.5 x")
    for sampler in list(SAMPLERS)[1:]:
        again = merge_seconds(memberships)
        tell(f"{name}, {sampler}", merge_seconds(memberships, sampler), "greedy", again, "at most 2 x")


def _gram(matrix) -> np.ndarray:
    return (matrix.T @ matrix).toarray()


def dense(scale: float) -> None:
    from spd.clustering.memberships import Memberships

    n, n_samples = int(2_000 * scale), int(50_000 * scale)
    x = np.random.default_rng(0).random((n_samples, n), dtype=np.float32) < 0.4
    memberships = Memberships.from_activations(x, [f"dense:{i}" for i in range(n)], None)
    warm_up("greedy")
    floats = x.astype(np.float32)
    ours, plain = np.inf, np.inf
    for _ in range(3):
        ours = min(ours, merge_seconds(memberships))
        plain = min(plain, seconds(lambda: floats.T @ floats))
    tell(f"n = {n:,}, N = {n_samples:,}, 40% active", ours, "numpy X.T @ X", plain, "at most 2 x")


def largest(scale: float) -> None:
    _alone(int(10_000 * scale), int(2_000_000 * scale), 200.0, "at most 360 s, 8 GB")


def wide(scale: float) -> None:
    _alone(int(100_000 * scale), int(1_000_000 * scale), 100.0, "at most 360 s, 6 GB")


def _alone(n: int, n_samples: int, n_active: float, goal: str) -> None:
    from benchmarks.planted import planted_memberships

    memberships = planted_memberships(n, n_samples, n_active)
    warm_up("greedy")
    ours = merge_seconds(memberships, memory_limit_gb=LONG_MEMORY_GB)
    print(f"{f'n = {n:,}, N = {n_samples:,}, {n_active:.0f} active':<42} {ours:>9.2f} s {'':<46} goal {goal}")


def first(scale: float) -> None:
    """A merge in a fresh process with an empty cache of compiled code, and once more with the cache."""
    code = (
        "import time; from benchmarks.merge import warm_up; started = time.perf_counter(); "
        "warm_up('greedy'); print(time.perf_counter() - started)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        fresh, cached = (
            float(subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout)
            for _ in range(2)
        )
    tell("first call, compilation included", fresh, "second process", cached, "under 20 s")


def curve(numbers: list[int], scale: float) -> None:
    """The same work with each number of cores, in a process of its own that may use no others."""
    first: dict[str, float] = {}
    results = set()
    print(f"{'cores':>5}  " + "  ".join(f"{name:>22}" for name in ("first coactivations", "merges", "groups")))
    for n_cores in numbers:
        cores = sorted(os.sched_getaffinity(0))[:n_cores]
        if len(cores) < n_cores:
            sys.exit(f"{n_cores} cores are asked for, {len(cores)} may be used")
        command = [sys.executable, "-m", "benchmarks.merge", "--curve-here", "--scale", str(scale)]
        variables = {"OMP_NUM_THREADS": str(n_cores), "NUMBA_NUM_THREADS": str(n_cores)}
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            preexec_fn=lambda cores=cores: os.sched_setaffinity(0, cores),
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        results.add(found.pop("result"))
        first = first or found
        columns = (f"{took:>12.2f} s {first[name] / took:>6.2f} x" for name, took in found.items())
        print(f"{n_cores:>5}  " + "  ".join(columns), flush=True)
    print("the same merges and groups" if len(results) == 1 else "DIFFERENT RESULTS")


def curve_here(scale: float) -> None:
    """One line of the curve, as JSON."""
    from benchmarks.planted import planted_memberships
    from spd.clustering.groups import find_groups
    from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
    from spd.machine import available_cores

    def measured(n: int, n_samples: int, n_active: float) -> dict[str, float | str]:
        memberships = planted_memberships(n, n_samples, n_active)
        rules = EngineOptions("range", 0.0, 1.0, n - 1, n_threads=available_cores())
        times = [time.perf_counter()]
        engine = MergeEngine(memberships, rules, np.random.default_rng(0))
        times.append(time.perf_counter())
        engine.advance(n)
        times.append(time.perf_counter())
        groups = find_groups(memberships)
        first, merges, found = np.diff([*times, time.perf_counter()]).tolist()
        result = hashlib.sha256(engine.pairs().tobytes() + groups.group_of.tobytes()).hexdigest()
        return {"first": first, "merges": merges, "groups": found, "result": result}

    measured(200, 2000, 10.0)  # compiles
    print(json.dumps(measured(int(5_000 * scale), int(200_000 * scale), 100.0)))


def tell(name: str, ours: float, other_name: str, other: float, goal: str) -> None:
    """One line: our seconds, the other's, the ratio, and what is wanted."""
    print(
        f"{name:<42} {ours:>9.2f} s   {other_name:<24} {other:>9.2f} s {ours / other:>7.3f} x   goal {goal}", flush=True
    )


def main(argv: list[str] | None = None) -> None:
    """Run cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="comma-separated cases")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--cores", help="numbers of cores, separated by commas: print how work scales with them")
    parser.add_argument("--curve-here", action="store_true", help="one line of that, as JSON")
    parser.add_argument("--here", action="store_true", help="run the one case in this process")
    arguments = parser.parse_args(argv)
    if arguments.curve_here:
        curve_here(arguments.scale)
        return
    if arguments.cores is not None:
        curve([int(number) for number in arguments.cores.split(",")], arguments.scale)
        return
    for case in arguments.only.split(","):
        if case not in CASES + LONG_CASES:
            parser.error(f"no case {case!r}, there are {', '.join(CASES + LONG_CASES)}")
        if arguments.here:
            globals()[case](arguments.scale)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{'':<42} peak memory {peak:.1f} GiB, data included", flush=True)
        else:
            command = [sys.executable, "-m", "benchmarks.merge", "--only", case, "--here"]
            subprocess.run([*command, "--scale", str(arguments.scale)], check=True)


if __name__ == "__main__":
    main()
