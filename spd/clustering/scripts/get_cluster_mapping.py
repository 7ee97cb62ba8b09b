"""Which cluster each component is in, as JSON: of one clustering run, of one member of an ensemble, or of the consensus
of an ensemble.

A cluster is named by its index at that iteration, or among the groups found; a component that is alone has null.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spd.clustering.scripts._command import late_names, make_parser, run_command

if TYPE_CHECKING:
    from spd.clustering.pipeline.mapping import get_cluster_mapping as get_cluster_mapping

__getattr__ = late_names(__name__, get_cluster_mapping="spd.clustering.pipeline.mapping")


def _iteration(value: str) -> int | Literal["best", "groups"]:
    if value in ("best", "groups"):
        return value  # type: ignore[return-value]
    try:
        return int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, best or groups, got {value!r}") from None


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.get_cluster_mapping")
    parser.add_argument("directory", type=Path, metavar="DIR", help="of an ensemble or of a clustering run")
    parser.add_argument(
        "--iteration",
        type=_iteration,
        required=True,
        metavar="I|best|groups",
        help="the state after merge I (negative: from the end); best: at the least MDL; groups: those found in the "
        "run's memberships",
    )
    parser.add_argument(
        "--groups",
        type=int,
        metavar="K",
        help="with --iteration groups: the partition nearest to K groups, those of one component counted",
    )
    parser.add_argument("--run-idx", type=int, metavar="J", help="member of the ensemble; not given: the consensus")
    parser.add_argument("--notes", default="", metavar="T", help="free text, kept in the mapping")
    parser.add_argument(
        "--format", choices=("spd", "pd"), default="spd", help="name the model under spd_run (default) or pd_run"
    )
    parser.add_argument("--output", type=Path, metavar="F", help="write to this file; not given: print")
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.mapping import get_cluster_mapping
    from spd.files.atomic import is_stream, write_output

    mapping = get_cluster_mapping(
        arguments.directory,
        arguments.iteration,
        run_idx=arguments.run_idx,
        notes=arguments.notes,
        n_groups=arguments.groups,
        format=arguments.format,
    )
    text = json.dumps(mapping, indent=2)
    if arguments.output is None:
        print(text)
        return
    write_output(arguments.output, f"{text}\n")
    if not is_stream(arguments.output):  # whoever reads /dev/stdout reads JSON
        print(arguments.output)


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
