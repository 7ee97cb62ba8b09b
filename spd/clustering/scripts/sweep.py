"""Which alpha? From one harvest, merges over alphas and seeds, and the alpha at which the groups are stable.

Each seed draws the samples anew (with replacement) and merges until the MDL has passed its minimum. Writes sweep.json,
sweep.csv and plots/sweep.png, and, at the recommended alpha, the files of calc_consensus. The recommended alpha has
the best agreement (corrected for chance) among those whose groups explain samples that were left out.
"""

import argparse
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spd.clustering.scripts._command import make_parser, run_command
from spd.errors import ConfigError

if TYPE_CHECKING:
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.consensus.sweep import AlphaResult
    from spd.clustering.memberships import Memberships

logger = logging.getLogger("spd")

DEFAULT_ALPHAS = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_COLUMNS = (
    ("alpha", "alpha", "g"),
    ("n_groups", "groups", ",.0f"),
    ("n_alone", "alone", ",.0f"),
    ("largest", "largest", ",.0f"),
    ("agreement", "agreement", ".3f"),
    ("adjusted_rand", "adj. Rand", ".3f"),
    ("in_doubt", "in doubt", ".1%"),
    ("n_stable", "stable groups", ",d"),
    ("stable_share", "in stable", ".1%"),
    ("saved", "saved", ".1%"),
)

_LEGEND = """agreement: adjusted mutual information of members; in doubt: pairs of components together in 10% to 90% of
the members, of all ever together; saved: share of the description of left-out samples that the groups save"""


def make_command_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "", "python -m spd.clustering.scripts.sweep")
    parser.add_argument("--config", required=True, type=Path, metavar="C", help="config of one clustering run")
    parser.add_argument(
        "--memberships", type=Path, metavar="F", help="memberships.npz of a harvest, instead of a new one"
    )
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


def run_sweep(
    config: "ClusteringRunConfig",
    memberships: "Memberships",
    directory: Path,
    *,
    alphas: list[float],
    n_seeds: int,
    n_workers: int = 1,
) -> dict[str, Any]:
    """Sweep, write all files into the directory, and return the content of sweep.json.

    Raises:
        SPDError: fewer than two seeds, alphas that are negative or repeated, a file that cannot be written.
    """
    from spd.clustering.consensus.sweep import recommend, sweep_alphas
    from spd.clustering.scripts.calc_consensus import write_stable_groups_of
    from spd.files.checked import write_json

    results, histories = sweep_alphas(
        memberships,
        config.merge_config,
        alphas,
        range(config.seed, config.seed + n_seeds),
        n_workers=n_workers,
        report=lambda line: logger.debug("%s", line),
    )
    advice = recommend(results)
    content = {
        "recommended_alpha": advice.alpha,
        "reason": advice.reason,
        "candidates": advice.candidates,
        "n_seeds": n_seeds,
        "config": config.model_dump(mode="json"),
        "results": [vars(result) for result in results],
    }
    write_json(directory / "sweep.json", content)
    _write_table(directory / "sweep.csv", results)
    _write_plot(directory / "plots" / "sweep.png", content)
    if advice.alpha is not None:
        write_stable_groups_of(directory, histories[advice.alpha], spd_run=config.spd_run)
    return content


def table(results: "list[dict[str, Any]]") -> str:
    """The results as a table for people."""
    rows = [[title for _, title, _ in _COLUMNS]]
    rows += [[format(result[name], spec) for name, _, spec in _COLUMNS] for result in results]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_COLUMNS))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _write_table(path: Path, results: "list[AlphaResult]") -> None:
    import pandas as pd

    from spd.files.atomic import atomic_write

    with atomic_write(path) as temporary:
        pd.DataFrame([vars(result) for result in results]).to_csv(temporary, index=False)


def _write_plot(path: Path, content: dict[str, Any]) -> None:
    from spd.clustering.plotting.sweep import save_sweep_figure

    try:
        save_sweep_figure(path, content["results"], content["recommended_alpha"], content["candidates"])
    except Exception as error:  # a picture is worth a warning, never the answer
        logger.warning("the plot was not made: %s: %s", type(error).__name__, error)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.storage import clustering_dir

    if arguments.n_seeds < 2:
        raise ConfigError(f"--n-seeds: agreement needs at least 2 members, got {arguments.n_seeds}")
    config = ClusteringRunConfig.from_file(arguments.config)
    directory = arguments.output or clustering_dir() / "sweeps" / f"s-{secrets.token_hex(4)}"
    memberships = _memberships(config, arguments.memberships)
    logger.info("%d components on %d samples", memberships.n_components, memberships.n_samples)
    content = run_sweep(
        config,
        memberships,
        directory,
        alphas=arguments.alphas,
        n_seeds=arguments.n_seeds,
        n_workers=arguments.n_workers or os.cpu_count() or 1,
    )
    print(table(content["results"]))
    print(f"\n{_LEGEND}\n")
    print(f"{content['reason']}\n\n{directory}")


def _memberships(config: "ClusteringRunConfig", path: Path | None) -> "Memberships":
    from spd.clustering.memberships import Memberships
    from spd.clustering.pipeline.sources import MembershipSource

    if path is not None:
        return Memberships.load(path)
    return MembershipSource(config).memberships(config)


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
