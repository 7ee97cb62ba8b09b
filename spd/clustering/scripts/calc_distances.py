"""Distances between the members of an ensemble, by one method, at every iteration.

Writes distances_<method>.npz and .png, and ensemble_merge_array.npz with ensemble_meta.json when they are not there;
with --output the distances only.
"""

import argparse
import sys
import time

from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.scripts._command import add_comparison_flags, make_parser, run_command


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.calc_distances")
    parser.add_argument("--pipeline-run-id", required=True, metavar="ID", help="the ensemble: its id or its directory")
    parser.add_argument("--distances-method", required=True, metavar="M", help=", ".join(DISTANCES_METHODS))
    parser.add_argument("--track-resources", action="store_true", help="print wall time, CPU time and peak memory")
    add_comparison_flags(parser)
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.consts import checked_method
    from spd.clustering.execution.usage import Usage
    from spd.clustering.pipeline.comparison import calc_distances
    from spd.clustering.pipeline.foreign import open_ensemble
    from spd.clustering.pipeline.slurm_jobs import mark_lost_members

    started = time.monotonic()
    paths, method = open_ensemble(arguments.pipeline_run_id), checked_method(arguments.distances_method)
    mark_lost_members(paths)
    written = calc_distances(paths, method, require_all=arguments.require_all, output=arguments.output)
    print(f"{method}: {written}")
    if arguments.track_resources:
        print(Usage.since(started).line(method))


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
