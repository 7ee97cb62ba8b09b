"""The groups of planted memberships: seconds, with the control and without, as a ratio to the merge of the same data.

    python -m benchmarks.groups [--components 10000] [--samples 100000] [--active 50] [--no-merge]

Wall and processor seconds of each, and the peak memory, data included; on a busy machine the processor seconds say
more.
"""

import argparse
import resource
import time
from collections.abc import Callable


def seconds(task: Callable[[], object]) -> tuple[float, float]:
    """(wall, processor) seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--active", type=float, default=50.0, help="components active on a sample")
    parser.add_argument("--no-merge", action="store_true", help="do not merge to compare with")
    arguments = parser.parse_args()

    from benchmarks.merge import merge_seconds, warm_up
    from benchmarks.planted import planted_memberships
    from spd.clustering.groups import find_groups

    find_groups(planted_memberships(200, 2_000, 10.0))  # compile before anything is timed
    memberships = planted_memberships(arguments.components, arguments.samples, arguments.active)
    times = {}
    if not arguments.no_merge:
        warm_up("greedy")
        times["greedy merge"] = seconds(lambda: merge_seconds(memberships))
    times["find_groups, no control"] = seconds(lambda: find_groups(memberships, control=False))
    times["find_groups"] = seconds(lambda: find_groups(memberships))
    merge = times.get("greedy merge", (float("nan"), float("nan")))
    print(f"n = {arguments.components:,}, N = {arguments.samples:,}, {arguments.active:g} active")
    for name, (wall, processor) in times.items():
        ratios = f"{wall / merge[0]:.2f} x, {processor / merge[1]:.2f} x the merge's"
        print(f"{name:<24} {wall:>9.2f} s wall {processor:>9.2f} s of processor   {ratios}")
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, data included; goal: 10 s"
    )


if __name__ == "__main__":
    main()
