"""Distances between the members of an ensemble, by one method, at every iteration.

Writes distances_<method>.npz and .png, and ensemble_merge_array.npz with ensemble_meta.json when they are not there.
"""

import argparse
import resource
import sys
import time

from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.scripts._command import make_parser, run_command
from spd.clustering.storage import EnsemblePaths


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.calc_distances")
    parser.add_argument("--pipeline-run-id", required=True, metavar="ID", help="the ensemble")
    parser.add_argument("--distances-method", required=True, metavar="M", help=", ".join(DISTANCES_METHODS))
    parser.add_argument(
        "--require-all", action="store_true", help="fail unless all members are finished; default: two are enough"
    )
    parser.add_argument("--track-resources", action="store_true", help="print wall time, CPU time and peak memory")
    return parser


def resources_line(method: str, wall_s: float, cpu_s: float, peak_mib: float) -> str:
    """What --track-resources prints for one method."""
    return f"{method}: {wall_s:.1f} s wall time, {cpu_s:.1f} s CPU time, {peak_mib:.0f} MiB peak memory"


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.comparison import calc_distances
    from spd.clustering.pipeline.slurm_jobs import mark_lost_members

    started = time.monotonic()
    paths = EnsemblePaths(arguments.pipeline_run_id)
    mark_lost_members(paths)
    written = calc_distances(paths, arguments.distances_method, require_all=arguments.require_all)
    print(f"{arguments.distances_method}: {written}")
    if arguments.track_resources:
        used = resource.getrusage(resource.RUSAGE_SELF)
        peak_mib = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        cpu_s = used.ru_utime + used.ru_stime
        print(resources_line(arguments.distances_method, time.monotonic() - started, cpu_s, peak_mib))


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
