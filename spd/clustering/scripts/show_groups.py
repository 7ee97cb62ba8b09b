"""Print the groups of a clustering run or an ensemble with the inputs on which they fire: the report as text.

    python -m spd.clustering.scripts.show_groups DIR [--iteration best] [--groups 20]

For a language model: the tokens that tell a group from others, each with its share of the group's strength (the mean
importance of its components), and the texts around its strongest places. For a toy model: the features that are
present when it fires. make_report shows all of this and more in a page.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from spd.clustering.scripts._command import make_parser, run_command


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.show_groups")
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of a clustering run or an ensemble")
    parser.add_argument("--iteration", metavar="I|best", help="of a run: after which merge (default: as its report)")
    parser.add_argument("--groups", type=int, default=20, metavar="N", help="how many groups")
    parser.add_argument(
        "--sort",
        choices=("activity", "size"),
        default="activity",
        help="which groups come first: those whose components' importances sum to most, or the largest",
    )
    parser.add_argument("--min-size", type=int, default=2, metavar="N", help="leave out smaller groups")
    parser.add_argument("--shown", type=int, default=6, metavar="N", help="tokens and contexts of each group")
    parser.add_argument("--items", type=int, default=256, metavar="N", help="sequences that the model is run on")
    parser.add_argument("--output", type=Path, metavar="F", help="write JSON to this file, too")
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.report.text import Selection, describe_groups, render
    from spd.files.atomic import write_output

    selection = Selection(
        sort=arguments.sort,
        n_groups=arguments.groups,
        min_size=arguments.min_size,
        n_shown=arguments.shown,
        items=arguments.items,
    )
    shown = describe_groups(arguments.directory, arguments.iteration, selection)
    if arguments.output is not None:  # first, since the reader of what is printed may go, as with `| head`
        write_output(arguments.output, json.dumps([asdict(group) for group in shown], indent=2) + "\n")
    if not shown:
        print(f"no group has {arguments.min_size} components or more")
    for group in shown:
        print(render(group), end="\n\n")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
