"""The stable groups of an ensemble: which groups its members agree on, and how firmly.

Writes stable_groups.json, stable_groups.csv, consensus_mapping.json, plots/stability.png and plots/coassociation.png,
and prints a summary.
"""

import argparse
import sys

from spd.clustering.scripts._command import add_comparison_flags, make_parser, run_command

DEFAULT_THRESHOLD = 0.9


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.calc_consensus")
    parser.add_argument("--pipeline-run-id", required=True, metavar="ID", help="the ensemble: its id or its directory")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--cut",
        choices=("groups", "mdl"),
        help="what the members are asked for: the groups found in each (groups.json), or its history at its own MDL "
        "minimum; not given: groups, or mdl, with a warning, where a member has no groups.json",
    )
    where.add_argument(
        "--iteration", type=int, metavar="I", help="cut all histories after merge I (negative: from the end)"
    )
    where.add_argument("--n-groups", type=int, metavar="K", help="cut all histories at K groups")
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="T",
        help=f"least mean co-association inside a stable group, above 0.5 (default {DEFAULT_THRESHOLD})",
    )
    add_comparison_flags(parser)
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.consensus import Cut, summary_text
    from spd.clustering.pipeline.foreign import is_registered, open_ensemble, output_of
    from spd.clustering.pipeline.stable_groups import (
        StableGroupsSettings,
        track_stable_groups,
        write_stable_groups,
    )

    paths = open_ensemble(arguments.pipeline_run_id)
    target = output_of(paths, arguments.output)
    cut = Cut(arguments.iteration, arguments.n_groups, is_found=arguments.cut == "groups")
    is_given = arguments.cut is not None or cut != Cut()
    settings = StableGroupsSettings(cut if is_given else None, arguments.threshold)
    content = write_stable_groups(paths, settings, require_all=arguments.require_all, output=arguments.output)
    if arguments.output is None and is_registered(paths):
        track_stable_groups(paths)
    print(summary_text(content))
    print(f"\n{target.stable_groups}\n{target.consensus_mapping}\n{target.plots}/")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
