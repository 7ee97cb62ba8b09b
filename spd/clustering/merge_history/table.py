"""A merge history as a few numbers, and as a table."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.math.merge_paths import sizes_before_merges
from spd.errors import SPDError

if TYPE_CHECKING:
    import pandas as pd

    from spd.clustering.merge_history.history import MergeHistory


def mdl_path(history: "MergeHistory") -> np.ndarray:
    """(n_iters + 1,) normalised MDL in bits a sample, after 0, 1, 2, ... merges.

    Raises:
        SPDError: it is not known, or not a number somewhere.
    """
    if history.mdl_loss_norm is None:
        raise SPDError(
            "this history holds no costs (files of goodfire-ai/spd do not), so its best iteration is unknown"
        )
    initial = history.initial_mdl_loss_norm
    if initial is None and history.merge_pair_cost is not None and len(history):
        initial = float(history.mdl_loss_norm[0] - history.merge_pair_cost[0])
    if initial is None:
        raise SPDError("this history holds no MDL before the first merge, so its best iteration is unknown")
    path = np.concatenate([[initial], history.mdl_loss_norm])
    wrong = np.flatnonzero(~np.isfinite(path))
    if wrong.size:
        raise SPDError(f"the MDL after {wrong[0]} merges is {path[wrong[0]]}, so the best iteration is unknown")
    return path


def summary(history: "MergeHistory") -> dict[str, Any]:
    """Plain numbers (JSON types); the best state and its MDL (bits a sample) are None where the MDL is not known."""
    mdl, best = history.mdl_loss_norm, None
    if mdl is not None:
        try:
            best = history.best_n_merges
        except SPDError:
            best = None
    return {
        "c_components": history.c_components,
        "total_iterations": history.total_iterations,
        "initial_k_groups": history.initial_k_groups,
        "final_k_groups": history.final_k_groups,
        "best_n_merges": best,
        "best_k_groups": None if best is None else history.c_components - best,
        "initial_mdl_loss_norm": history.initial_mdl_loss_norm,
        "best_mdl_loss_norm": None if best is None or not len(history) else float(history.mdl_path()[best]),
        "final_mdl_loss_norm": None if mdl is None or not len(history) else float(mdl[-1]),
        "is_complete": history.is_complete,
        "merge_config": history.merge_config.model_dump(mode="json"),
    }


def to_dataframe(history: "MergeHistory") -> "pd.DataFrame":
    """One row a merge.

    Columns: iteration, group_a and group_b (indices before the merge), kept_label and absorbed_label (the least
    component of each group), kept_size and absorbed_size (components, before the merge), k_groups (after it), and of
    merge_pair_cost, mdl_loss_norm (bits a sample) and considered_fraction those that are known.
    """
    import pandas as pd

    labels = np.array(history.labels, dtype=object)
    sizes = sizes_before_merges(history.component_merges, history.c_components)
    columns: dict[str, Any] = {
        "iteration": np.arange(len(history)),
        "group_a": history.selected_pairs[:, 0],
        "group_b": history.selected_pairs[:, 1],
        "kept_label": labels[history.component_merges[:, 0]],
        "absorbed_label": labels[history.component_merges[:, 1]],
        "kept_size": sizes[:, 0],
        "absorbed_size": sizes[:, 1],
        "k_groups": history.merges.k_groups,
    }
    for name in ("merge_pair_cost", "mdl_loss_norm", "considered_fraction"):
        values = getattr(history, name)
        if values is not None:
            columns[name] = values
    return pd.DataFrame(columns)
