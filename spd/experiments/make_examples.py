"""Rebuild the bundled examples.

    python -m spd.experiments.make_examples [names] [--output DIRECTORY] [--quick] [--seed N]

Everything is seeded; the same torch version on the same kind of processor gives the same files.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spd.errors import SPDError
from spd.files.run_location import EXAMPLES_DIRECTORY

EXAMPLES = ("resid_mlp2", "lm_words")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spd.experiments.make_examples", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which to build (default: all of {', '.join(EXAMPLES)})")
    parser.add_argument(
        "--output", type=Path, default=EXAMPLES_DIRECTORY, help="directory that gets one directory per example"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps only: shows that the way works, no more")
    parser.add_argument("--seed", type=int, default=0, help="of all trainings; the bundled examples have 0")
    given = parser.parse_args(arguments)
    try:
        make_examples(given.names or list(EXAMPLES), given.output, given.quick, given.seed)
    except SPDError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make_examples(names: list[str], output: Path, quick: bool = False, seed: int = 0) -> None:
    """Build the examples `names` in directories of these names within `output`.

    Raises:
        SPDError: an unknown name; or `quick` or another seed than 0 for the bundled directory itself, which must hold
            full runs of seed 0.
    """
    unknown = [name for name in names if name not in EXAMPLES]
    if unknown:
        raise SPDError(f"no example named {unknown[0]!r}: there are {', '.join(EXAMPLES)}")
    if (quick or seed) and output.resolve() == EXAMPLES_DIRECTORY:
        raise SPDError("--quick and --seed make other runs than the bundled ones: give an --output of their own")
    import torch

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    makers = _makers()
    for name in names:
        start = time.monotonic()

        def report(line: str, name: str = name, start: float = start) -> None:
            print(f"[{name} {time.monotonic() - start:5.0f} s] {line}", flush=True)

        makers[name](output / name, report, quick, seed)
        report(f"written to {output / name}")


def _makers() -> dict[str, Callable[[Path, Callable[[str], None], bool, int], None]]:
    from spd.experiments.language_example import make_language_example
    from spd.experiments.resid_mlp_example import make_resid_mlp_example

    return {"resid_mlp2": make_resid_mlp_example, "lm_words": make_language_example}


if __name__ == "__main__":
    sys.exit(main())
