"""The tables of docs/recovery.md.

    python -m benchmarks.recovery [--components 300] [--samples 6000] [--active 12] [--seeds 1] [--first-seed 10]
                                  [--kinds NAME,...] [--tables planted,alpha,calibration,again,real]
                                  [--importances FILE ...] [--ensembles MODEL=SEQUENCES ...] [--plot FILE]
                                  [--members 4]

Columns of the planted table: adjusted mutual information with the truth (1: equal, 0: chance) of `find_groups`; the MDL
minimum of a greedy merge (alpha 1); average linkage on Jaccard distances at its best mean silhouette, and where it is
best by the truth ("told"); HDBSCAN; Leiden where igraph and leidenalg are installed. Bold: the best that is not told.

Columns of the table of ways ("again"): log score (nats) and how far stated and true are apart (mean over bins), the
less the better; what the ways are: again.py. Disjoint ensembles of the runs in --ensembles, in --seeds orders of their
samples, and of planted kinds, where a member has --samples.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.recovery.again import (
    Parts,
    example_parts,
    pairs_statements,
    planted_parts,
    stated,
    statements,
    ways_table,
)
from benchmarks.recovery.calibration import planted_statements, plot
from benchmarks.recovery.kinds import KINDS
from benchmarks.recovery.planted_table import alpha_table, planted_table
from benchmarks.recovery.real_table import example_members, halves, real_table

TABLES = {"planted": planted_table, "alpha": alpha_table}
CONFIGS = Path(__file__).resolve().parents[2] / "spd" / "clustering" / "configs" / "crc"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=300)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--active", type=float, default=12.0, help="components active on a sample")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--tables", default="planted,alpha,calibration,again,real")
    parser.add_argument("--importances", type=Path, nargs="*", default=[], help="more real data: ci.npz files")
    parser.add_argument(
        "--plot", type=Path, help="draw the calibrations beside this file: NAME_planted.png, NAME_<run>.png"
    )
    parser.add_argument(
        "--ensembles", nargs="*", default=["example:lm_words=5776"], help="runs, and how many sequences there are"
    )
    parser.add_argument("--members", type=int, default=4, help="of each ensemble whose bins are shown")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    size = (arguments.components, arguments.samples, arguments.active)
    for table in arguments.tables.split(","):
        if table in TABLES:
            n, n_samples, n_active = size
            print(f"\n## {table}: {n:,} components, {n_samples:,} samples, {n_active:g} active, seeds {list(seeds)}\n")
            _print(TABLES[table](arguments.kinds.split(","), *size, seeds))
    if "calibration" in arguments.tables.split(","):
        _calibration(arguments, size, seeds)
    if "again" in arguments.tables.split(","):
        _again(arguments, size, seeds)
    if "real" in arguments.tables.split(","):
        for name in ("lm_words", "resid_mlp2"):
            _print(real_table(f"example:{name}", example_members(str(CONFIGS / f"example_{name}.json"), 3)))
        for path in arguments.importances:
            _print(real_table(f"{path.parent.name}, two halves of the samples", halves(path)))


def _calibration(arguments: argparse.Namespace, size: tuple[int, int, float], seeds: range) -> None:
    n, n_samples, n_active = size
    print(f"\n## calibration: {n:,} components, {n_samples:,} samples, {n_active:g} active, seeds {list(seeds)}")
    shown = planted_statements(arguments.kinds.split(","), *size, seeds)
    for part in shown:
        _print(part.table())
    if arguments.plot:
        plot(shown, arguments.plot.with_stem(f"{arguments.plot.stem}_planted"))


def _again(arguments: argparse.Namespace, size: tuple[int, int, float], seeds: range) -> None:
    data: dict[str, list[Parts]] = {}
    for given in arguments.ensembles:
        model, _, n_rows = given.rpartition("=")
        data[model] = [example_parts(model, int(n_rows), seed) for seed in seeds]
    if arguments.kinds:
        kinds = [(kind, seed) for kind in arguments.kinds.split(",") for seed in seeds]
        data["planted"] = [planted_parts(kind, *size, seed) for kind, seed in kinds]
    for name, parts in data.items():
        print(f"\n## again: {name}, ensembles of disjoint samples, seeds {list(seeds)}")
        _print(ways_table(parts, (3, 4, 8)))
        shown = statements(parts, arguments.members, stated) + pairs_statements(parts, arguments.members)
        for part in shown:
            _print(part.table())
        if arguments.plot:
            plot(shown, arguments.plot.with_stem(f"{arguments.plot.stem}_{name.rpartition(':')[2]}"))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
