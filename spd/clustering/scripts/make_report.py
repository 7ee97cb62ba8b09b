"""The report: one page, report.html, that shows what each group does and why to believe it; and its JSON.

    python -m spd.clustering.scripts.make_report DIR [--output F] [--labels F] [--samples F] [--effects K]

DIR is an ensemble, a clustering run, or (with --mapping) a harvest. docs/report.md explains every figure.
"""

import argparse
import sys
from pathlib import Path

from spd.clustering.scripts._command import make_parser, run_command
from spd.errors import ConfigError


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.make_report")
    parser.add_argument("directory", type=Path, metavar="DIR", help="of an ensemble, a clustering run, or a harvest")
    parser.add_argument("--output", type=Path, metavar="F", help="write the page here (default: DIR/report.html)")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="F",
        help='names of groups, JSON lines: {"cluster_id", "explanation"}, or "hash" of the members for "cluster_id"',
    )
    parser.add_argument("--samples", type=Path, metavar="F", help="for a matrix: texts of its samples, a line each")
    parser.add_argument("--mapping", type=Path, metavar="F", help="take these groups instead of the directory's own")
    parser.add_argument(
        "--effects", type=int, default=20, metavar="K", help="measure the effect of the K largest groups (default 20)"
    )
    parser.add_argument(
        "--report-samples", type=int, metavar="N", help="samples to measure on (default 131072; of a matrix, all)"
    )
    parser.add_argument(
        "--neuronpedia", type=Path, metavar="F", help='names for links, JSON: {"model_id", "layers": {module: layer}}'
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="of an ensemble: with the flags that its report was made with, and only if it is not current",
    )
    return parser


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.report_step import make_report, make_report_again
    from spd.clustering.report.exports import read_neuronpedia_names
    from spd.clustering.report.make import ReportOptions
    from spd.files.atomic import is_stream

    if arguments.again:
        _check_alone(arguments)
        print(f"open {make_report_again(arguments.directory)}")
        return
    options = ReportOptions(
        output=arguments.output,
        labels=arguments.labels,
        samples=arguments.samples,
        mapping=arguments.mapping,
        n_effects=arguments.effects,
        n_samples=arguments.report_samples,
        neuronpedia=read_neuronpedia_names(arguments.neuronpedia) if arguments.neuronpedia else None,
    )
    page = make_report(arguments.directory, options)
    if not is_stream(page):
        print(f"open {page}")


def _check_alone(arguments: argparse.Namespace) -> None:
    usual = vars(make_command_parser().parse_args([str(arguments.directory), "--again"]))
    given = [f"--{name.replace('_', '-')}" for name, value in vars(arguments).items() if value != usual[name]]
    if given:
        raise ConfigError(f"--again takes the flags of the report that is there: leave out {', '.join(given)}")


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
