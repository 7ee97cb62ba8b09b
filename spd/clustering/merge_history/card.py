"""A history for a notebook."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spd.text import html_card

_N_SIZES = 12


def history_card(summary: Mapping[str, Any], alpha: float, partition: np.ndarray | None) -> str:
    """As HTML: numbers of merges and groups, and the sizes of groups at the MDL minimum.

    Args:
        summary: see MergeHistory.summary.
        partition: (n_components,) groups at the MDL minimum; None where it is not known.
    """
    shown = ("c_components", "total_iterations", "final_k_groups", "best_n_merges", "best_k_groups")
    facts: dict[str, object] = {name: summary[name] for name in shown} | {"alpha": alpha}
    if partition is not None:
        sizes = np.sort(np.bincount(partition))[::-1].tolist()
        more = ", ..." if len(sizes) > _N_SIZES else ""
        facts["sizes at the MDL minimum"] = ", ".join(map(str, sizes[:_N_SIZES])) + more
    return html_card("MergeHistory", facts, [], [], 0)
