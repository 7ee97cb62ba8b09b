"""What logging adds to a merge: metrics.jsonl alone, and W&B (its real client, offline), against no observer.

    python -m benchmarks.log_cost [--scale 1.0]

The goal is at most 5% or 10 seconds, whichever is more.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.merge import merge_seconds, seconds, warm_up

CASES = ((1_000, 20_000), (4_000, 50_000), (10_000, 100_000))


def logged_seconds(memberships, project: str | None) -> float:
    """Wall seconds of a merge down to one group with metrics.jsonl, and with W&B when a project is given."""
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.merge import MergeRunOptions, merge_iteration
    from spd.clustering.merge_config import MergeConfig
    from spd.clustering.storage import RunPaths
    from spd.clustering.tracking.observer import RunTracker

    merge_config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    config = ClusteringRunConfig(
        activations_path="unused.npz",
        batch_size=memberships.n_samples,
        merge_config=merge_config,
        wandb_project=project,
    )

    def run(paths: RunPaths) -> None:
        with RunTracker(paths, config, memberships) as tracker:
            history = merge_iteration(
                merge_config,
                memberships,
                memberships.labels,
                log_callback=tracker,
                run_options=MergeRunOptions(next_state=tracker.next_state),
            )
            tracker.finished(history)

    with tempfile.TemporaryDirectory() as directory:
        return seconds(lambda: run(RunPaths("c-00000000", Path(directory))))


def main(argv: list[str] | None = None) -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args(argv).scale
    from benchmarks.planted import planted_memberships

    os.environ.update({"WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    warm_up("greedy")
    for n, n_samples in CASES:
        memberships = planted_memberships(int(n * scale), int(n_samples * scale), 50.0)
        alone = min(merge_seconds(memberships) for _ in range(2))
        for project, name in ((None, "metrics.jsonl"), ("benchmark", "W&B offline and metrics.jsonl")):
            added = logged_seconds(memberships, project) - alone
            print(f"n = {memberships.n_components:,}: {alone:.2f} s alone, {name} adds {added:.2f} s", flush=True)


if __name__ == "__main__":
    main()
