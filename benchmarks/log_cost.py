"""What logging adds to a merge: metrics.jsonl alone, and W&B (its real client, offline), against no observer.

    python -m benchmarks.log_cost [--scale 1.0]

The goal is at most 5% or 10 seconds, whichever is more.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

CASES = ((1_000, 20_000), (4_000, 50_000), (10_000, 100_000))


def seconds(n: int, n_samples: int, how: str) -> float:
    """Wall seconds of a merge down to one group; `how`: none, file or wandb."""
    from benchmarks.planted import planted_memberships
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.merge import merge_iteration
    from spd.clustering.merge_config import MergeConfig
    from spd.clustering.storage import RunPaths
    from spd.clustering.tracking.observer import RunTracker

    memberships = planted_memberships(n, n_samples, 50.0)
    merge_config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    config = ClusteringRunConfig(
        activations_path="unused.npz",
        batch_size=n_samples,
        merge_config=merge_config,
        wandb_project="benchmark" if how == "wandb" else None,
    )
    with tempfile.TemporaryDirectory() as directory:
        paths = RunPaths("c-00000000", Path(directory))
        started = time.perf_counter()
        if how == "none":
            merge_iteration(merge_config, memberships, memberships.labels)
        else:
            with RunTracker(paths, config, memberships) as tracker:
                history = merge_iteration(
                    merge_config,
                    memberships,
                    memberships.labels,
                    log_callback=tracker,
                    next_state=tracker.next_state,
                )
                tracker.finished(history)
        return time.perf_counter() - started


def main(argv: list[str] | None = None) -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args(argv).scale
    os.environ.update({"WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    seconds(100, 500, "none")
    for n, n_samples in CASES:
        n, n_samples = int(n * scale), int(n_samples * scale)
        alone = min(seconds(n, n_samples, "none") for _ in range(2))
        for how, name in (("file", "metrics.jsonl"), ("wandb", "W&B offline and metrics.jsonl")):
            added = seconds(n, n_samples, how) - alone
            print(f"n = {n:,}: {alone:.2f} s alone, {name} adds {added:.2f} s", flush=True)


if __name__ == "__main__":
    main()
