"""Which alpha? From one harvest, merges over alphas and seeds, and the alpha at which the groups are stable.

Each seed draws the samples again (with replacement) and merges until the MDL has passed its minimum. Writes sweep.json,
sweep.csv and plots/sweep.png, and, at the recommended alpha, the files of calc_consensus. The recommended alpha has
the best agreement (corrected for chance) among those whose groups explain samples that were left out.

Alpha decides the merge and its MDL cut only. The groups that every run finds in its memberships (groups.json, and the
stable groups of an ensemble by default) do not depend on it: a sweep is for those who want the MDL cut.
"""

import argparse
import logging
import sys
from pathlib import Path

from spd.clustering.scripts._command import make_parser, run_command
from spd.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_ALPHAS = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.sweep")
    parser.add_argument("--config", required=True, type=Path, metavar="C", help="config of one clustering run")
    parser.add_argument("--memberships", type=Path, metavar="F", help="memberships of a harvest, instead of a new one")
    parser.add_argument(
        "--alphas",
        type=_numbers,
        default=list(DEFAULT_ALPHAS),
        metavar="A,B,...",
        help=f"default {','.join(f'{alpha:g}' for alpha in DEFAULT_ALPHAS)}",
    )
    parser.add_argument("--n-seeds", type=int, default=5, metavar="N", help="members at each alpha (default 5)")
    parser.add_argument("--n-workers", type=int, metavar="N", help="processes (default: one a CPU)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: a new SPD_OUT_DIR/clustering/sweeps/s-<8 hex digits>"
    )
    return parser


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig

    if arguments.n_seeds < 2:
        raise ConfigError(f"--n-seeds: agreement needs at least 2 members, got {arguments.n_seeds}")
    config = ClusteringRunConfig.from_file(arguments.config)
    from spd.clustering.pipeline.sweep import LEGEND, WITHOUT_ALPHA, load_memberships, results_table, run_sweep
    from spd.clustering.storage import SweepPaths
    from spd.files.atomic import check_can_write
    from spd.machine import available_cores

    directory = arguments.output or SweepPaths.new().directory
    check_can_write(directory)
    memberships = load_memberships(config, arguments.memberships)
    logger.info("%d components on %d samples", memberships.n_components, memberships.n_samples)
    content = run_sweep(
        config,
        memberships,
        directory,
        alphas=arguments.alphas,
        n_seeds=arguments.n_seeds,
        n_workers=arguments.n_workers or available_cores(),
    )
    print(results_table(content["results"]))
    print(f"\n{LEGEND}\n")
    print(f"{content['reason']}\n{WITHOUT_ALPHA}\n\n{directory}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
