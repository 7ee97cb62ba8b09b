"""Files as the other tools write them, small ones."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from tests.clustering.histories import random_history

FOUR: dict[str, Any] = {
    "alpha": 2.0,
    "iters": None,
    "merge_pair_sampling_method": "range",
    "merge_pair_sampling_kwargs": {"threshold": 0.0},
}
HARVEST = {"activation_threshold": 0.3, "filter_dead_threshold": 0.02, "module_name_filter": None}
SEVEN = FOUR | HARVEST
EIGHT = SEVEN | {"filter_dead_stat": "mean"}


def write_foreign(
    path: Path, history: MergeHistory, config: dict[str, Any], dtype: str = "int32", n_padding: int = 0
) -> None:
    """As the other tools do: stored without compression, padded rows, some pairs with the larger index first."""
    pairs = history.selected_pairs.copy()
    pairs[::2] = pairs[::2, ::-1]
    arrays = {
        "merge.group_idxs": np.pad(history.merges.group_idxs, ((0, n_padding), (0, 0)), constant_values=-1),
        "merge.k_groups": np.pad(history.merges.k_groups, (0, n_padding)),
        "selected_pairs": np.pad(pairs, ((0, n_padding), (0, 0)), constant_values=-1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array.astype(dtype))
            archive.writestr(f"{name}.npy", buffer.getvalue())
        archive.writestr("labels.txt", "\n".join(history.labels))
        archive.writestr("metadata.json", json.dumps(history.metadata() | {"merge_config": config}))


def ensemble_of(directory: Path, n_members: int = 3) -> Path:
    """An ensemble of another tool, with its runs beside it, whose paths are of another machine."""
    labels = [f"m:{i}" for i in range(14)]
    rng = np.random.default_rng(0)
    members = [random_history(12, 8, seed, sorted(rng.choice(labels, 12, replace=False))) for seed in range(n_members)]
    for member, history in enumerate(members):
        write_foreign(directory / "runs" / f"c-0000000{member}" / "history.zip", history, FOUR)
    merges, metadata = MergeHistoryEnsemble(members).normalized()
    del metadata["history_metadatas"]
    metadata["config"] = FOUR
    metadata["origin_paths"] = [f"/elsewhere/clustering/runs/c-0000000{m}/history.zip" for m in range(n_members)]
    ensemble = directory / "ensembles" / "e-00000000"
    ensemble.mkdir(parents=True)
    (ensemble / "ensemble_meta.json").write_text(json.dumps(metadata))
    np.savez_compressed(ensemble / "ensemble_merge_array.npz", merge_array=merges.astype(np.int32))
    return ensemble


def edit_meta(directory: Path, **changes: object) -> None:
    path = directory / "ensemble_meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
