"""Distances at every iteration, and stable groups: seconds and memory, against the plain way in the same run.

    python -m benchmarks.distances [--components 10000] [--members 10] [--samples 50000]
                                   [--only pair,planted,worst,consensus]

pair: one pair of random histories at n = 1,000, incremental against `scipy.optimize.linear_sum_assignment` on the
dense contingency table at each iteration, in CPU time. planted: stochastic runs (range, threshold 0.001) on planted
data. worst: one group takes in every component, in another order in each member. consensus: partitions in which one
group holds half of all components, every component astray in 5% of the members.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

METHODS = ("perm_invariant_hamming", "matching_dist", "pair_disagreement")


def random_merges(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniformly drawn pairs of groups, down to one."""
    alive = list(range(n))
    merges = np.zeros((n - 1, 2), np.int64)
    for t in range(n - 1):
        a, b = sorted(rng.choice(len(alive), 2, replace=False))
        merges[t] = alive[a], alive[b]
        del alive[b]
    return merges


def absorbing_merges(n: int, rng: np.random.Generator) -> np.ndarray:
    """One group takes in one component after another, in random order."""
    order = rng.permutation(n)
    return np.sort(np.stack([np.minimum.accumulate(order)[:-1], order[1:]], axis=1), axis=1)


def planted_merges(n: int, n_samples: int, members: int) -> list[np.ndarray]:
    """Stochastic runs on one set of planted memberships."""
    from benchmarks.planted import planted_memberships
    from spd.clustering.merge import merge_iteration
    from spd.clustering.merge_config import MergeConfig

    memberships = planted_memberships(n, n_samples, 50.0)
    config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.001})
    runs = (
        merge_iteration(config, memberships, memberships.labels, rng=np.random.default_rng(member))
        for member in range(members)
    )
    return [run.component_merges for run in runs]


def one_pair(n: int) -> Iterator[str]:
    """Incremental against a dense assignment at each iteration: seconds, and how many times faster."""
    from scipy.optimize import linear_sum_assignment

    from spd.clustering.math.merge_distances import distances_from_merges

    rng = np.random.default_rng(0)
    merges = [random_merges(n, rng) for _ in range(2)]
    yield f"{'one pair, n = ' + format(n, ','):<34} {'incremental':>12} {'assignment':>12} {'ratio':>8}"
    for method in METHODS[:2]:
        fast, got = _timed(lambda: distances_from_merges(merges, n, method), time.process_time)  # noqa: B023
        slow, want = _timed(
            lambda: _assignments(merges, n, method, linear_sum_assignment),  # noqa: B023
            time.process_time,
        )
        np.testing.assert_allclose(got[:, 1, 0], want, rtol=0, atol=1e-9)
        yield f"{method:<34} {fast:>10.4f} s {slow:>10.2f} s {slow / fast:>7,.0f}x"


def _assignments(merges: list[np.ndarray], n: int, method: str, solve: Callable) -> np.ndarray:
    """The plain way: a dense table, kept up to date, and a new assignment at each iteration."""
    table = np.eye(n)
    alive = [np.ones(n, bool), np.ones(n, bool)]
    values = np.zeros(n - 1)
    for t in range(n - 1):
        for side, (kept, absorbed) in enumerate((merges[0][t], merges[1][t])):
            rows = table if side == 0 else table.T
            rows[kept] += rows[absorbed]
            rows[absorbed] = 0
            alive[side][absorbed] = False
        dense = table[np.ix_(alive[0], alive[1])]
        if method == "perm_invariant_hamming":
            values[t] = n - dense[solve(dense, maximize=True)].sum()
        else:
            similarity = dense / (dense.sum(1, keepdims=True) + dense.sum(0, keepdims=True) - dense)
            values[t] = len(dense) - similarity[solve(similarity, maximize=True)].sum()
    return values


def all_methods(name: str, merges: list[np.ndarray], n: int) -> Iterator[str]:
    """Every pair at every iteration by each method."""
    from spd.clustering.math.merge_distances import distances_from_merges

    total, cpu = 0.0, time.process_time()
    for method in METHODS:
        seconds, distances = _timed(lambda: distances_from_merges(merges, n, method))  # noqa: B023
        total += seconds
        yield f"{name:<34} {method:<24} {seconds:>8.2f} s   {distances.shape}"
    cpu = time.process_time() - cpu
    yield f"{name:<34} {'all three':<24} {total:>8.2f} s   {cpu:.1f} s CPU, peak memory {_peak_gb():.2f} GB"


def consensus(n: int, members: int) -> Iterator[str]:
    """Everything that find_consensus does."""
    from spd.clustering.consensus import Cut, MemberCuts, find_consensus

    rng = np.random.default_rng(0)
    base = np.where(np.arange(n) < n // 2, 0, 1 + rng.integers(0, n // 7, n))
    partitions = np.stack([np.where(rng.random(n) < 0.05, rng.integers(0, n // 5, n), base) for _ in range(members)])
    partitions[rng.random(partitions.shape) < 0.02] = -1
    cuts = MemberCuts([f"m:{i}" for i in range(n)], partitions, np.zeros(members, np.int64), Cut())
    seconds, found = _timed(lambda: find_consensus(cuts))
    sizes = np.bincount(found.stable)
    yield (
        f"{'consensus, half in one group':<34} n = {n:,}, {members} members: {seconds:.2f} s, "
        f"{(sizes > 1).sum():,} stable groups, peak memory {_peak_gb():.2f} GB"
    )


def _timed(work: Callable, clock: Callable[[], float] = time.perf_counter) -> tuple[float, np.ndarray]:
    started = clock()
    result = work()
    return clock() - started, result


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=10_000)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--only", default="pair,planted,worst,consensus")
    arguments = parser.parse_args()
    n, members = arguments.components, arguments.members
    wanted = arguments.only.split(",")
    rng = np.random.default_rng(1)
    _warm_up()
    if "pair" in wanted:
        _print(one_pair(min(n, 1000)))
    if "consensus" in wanted:
        _print(consensus(n, members))
    if "worst" in wanted:
        _print(all_methods("one group absorbs everything", [absorbing_merges(n, rng) for _ in range(members)], n))
    if "planted" in wanted:
        _print(all_methods("planted, range 0.001", planted_merges(n, arguments.samples, members), n))


def _warm_up() -> None:
    """Compile, or load, the kernels."""
    from spd.clustering.math.merge_distances import distances_from_merges

    rng = np.random.default_rng(0)
    for method in METHODS:
        distances_from_merges([random_merges(20, rng) for _ in range(2)], 20, method)
    for _ in consensus(50, 3):
        pass


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
