"""A history as a few numbers, as a table, and its costs as one path."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.math.merge_paths import pairs_to_component_merges, sizes_before_merges
from spd.clustering.merge_history.record import HistoryRecord
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd


def mdl_path(
    mdl_loss_norm: np.ndarray | None, merge_pair_cost: np.ndarray | None, initial_mdl_loss_norm: float | None
) -> np.ndarray:
    """(n_iters + 1,) normalised MDL in bits a sample, after 0, 1, 2, ... merges.

    Raises:
        SPDError: it is not known, or not a number somewhere.
    """
    if mdl_loss_norm is None:
        raise SPDError(
            "this history holds no costs (files of goodfire-ai/spd do not), so its best iteration is unknown"
        )
    initial = initial_mdl_loss_norm
    if initial is None and merge_pair_cost is not None and len(merge_pair_cost):
        initial = float(mdl_loss_norm[0] - merge_pair_cost[0])
    if initial is None:
        raise SPDError("this history holds no MDL before the first merge, so its best iteration is unknown")
    path = np.concatenate([[initial], mdl_loss_norm])
    wrong = np.flatnonzero(~np.isfinite(path))
    if wrong.size:
        raise SPDError(f"the MDL after {wrong[0]} merges is {path[wrong[0]]}, so the best iteration is unknown")
    return path


def summary(record: HistoryRecord, best_n_merges: int | None) -> dict[str, Any]:
    """Plain numbers (JSON types); the best state and its MDL (bits a sample) are None where the MDL is not known.

    merge_config holds the settings that are known, unknown_settings names the others: those that files of another tool
    do not tell.
    """
    n, n_iters, mdl = len(record.labels), len(record.selected_pairs), record.mdl_loss_norm
    least = None
    if best_n_merges is not None and n_iters:
        least = float(mdl_path(mdl, record.merge_pair_cost, record.initial_mdl_loss_norm)[best_n_merges])
    return {
        "c_components": n,
        "total_iterations": n_iters,
        "initial_k_groups": n,
        "final_k_groups": n - n_iters,
        "best_n_merges": best_n_merges,
        "best_k_groups": None if best_n_merges is None else n - best_n_merges,
        "initial_mdl_loss_norm": record.initial_mdl_loss_norm,
        "best_mdl_loss_norm": least,
        "final_mdl_loss_norm": None if mdl is None or not n_iters else float(mdl[-1]),
        "is_complete": record.details.is_complete,
        "merge_config": record.known_settings,
        "unknown_settings": sorted(record.merge_config.unknown),
    }


def to_dataframe(record: HistoryRecord) -> "pd.DataFrame":
    """One row a merge.

    Columns: iteration, group_a and group_b (indices before the merge), kept_label and absorbed_label (the least
    component of each group), kept_size and absorbed_size (components, before the merge), k_groups (after it), and of
    merge_pair_cost, mdl_loss_norm (bits a sample) and considered_fraction those that are known.
    """
    import pandas as pd

    n, n_iters = len(record.labels), len(record.selected_pairs)
    labels = np.array(record.labels, dtype=object)
    merges = pairs_to_component_merges(record.selected_pairs, n)
    sizes = sizes_before_merges(merges, n)
    columns: dict[str, Any] = {
        "iteration": np.arange(n_iters),
        "group_a": record.selected_pairs[:, 0],
        "group_b": record.selected_pairs[:, 1],
        "kept_label": labels[merges[:, 0]],
        "absorbed_label": labels[merges[:, 1]],
        "kept_size": sizes[:, 0],
        "absorbed_size": sizes[:, 1],
        "k_groups": n - 1 - np.arange(n_iters),
    }
    return pd.DataFrame(columns | record.per_iteration)
