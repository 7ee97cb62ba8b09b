"""How much slower a harvest is than the model's bare forward pass with importances: samples a second of both, one run.

    python -m benchmarks.harvest [--model example:resid_mlp2] [--items 16384] [--rounds 3]

Both go over the same micro-batches, made beforehand, in turns; each round's better time counts. The device is CUDA
where there is one.
"""

import argparse
import time
from collections.abc import Callable

import torch

from spd.clustering.activations import component_activations
from spd.clustering.harvest.from_model import HarvestSettings, harvest_memberships
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.data import iter_batches
from spd.models.component_model import ComponentModel, SPDRunInfo


def benchmark(path: str, n_items: int, rounds: int) -> str:
    """One line of the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    info = SPDRunInfo.from_path(path)
    model = ComponentModel.from_run_info(info).to(device)
    batches = list(iter_batches(info, n_items, 0))
    config = MergeConfig(filter_dead_threshold=0)

    def forward() -> None:
        for batch in batches:
            component_activations(model, device, batch)
        if device == "cuda":
            torch.cuda.synchronize()

    def harvest() -> Memberships:
        return harvest_memberships(model, device, batches, HarvestSettings(config))

    made = harvest()
    times = [(_timed(forward), _timed(harvest)) for _ in range(rounds)]
    bare, full = (min(column) for column in zip(*times, strict=True))
    n = made.n_samples
    active = made.nnz / n
    return (
        f"{path:<40} {device:>5} {n:>9,} {made.n_components:>10,} {active:>9.1f} "
        f"{n / bare:>14,.0f} {n / full:>14,.0f} {bare / full:>6.0%}"
    )


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a decomposed run; may be given several times")
    parser.add_argument("--items", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(
        f"{'model':<40} {'':>5} {'samples':>9} {'components':>10} {'active':>9} "
        f"{'forward 1/s':>14} {'harvest 1/s':>14} {'ratio':>6}"
    )
    for path in arguments.model or ["example:resid_mlp2"]:
        print(benchmark(path, arguments.items, arguments.rounds))


if __name__ == "__main__":
    main()
