"""Questions to a history, until MergeHistory answers them itself."""

import numpy as np

from spd.clustering.merge_history import MergeHistory
from spd.errors import SPDError


def partition_after(history: MergeHistory, n_merges: int) -> np.ndarray:
    return history.merges.at([n_merges - 1])[0] if n_merges else np.arange(history.c_components)


def n_merges_at(history: MergeHistory, where: int | str) -> int:
    if where == "best":
        try:
            return history.best_n_merges
        except SPDError as error:
            raise SPDError(f"{error}; give a number to --iteration") from error
    return checked_iteration(int(where), len(history)) + 1


def checked_iteration(iteration: int, n_iterations: int) -> int:
    if not -n_iterations <= iteration < n_iterations:
        raise SPDError(
            f"there is no iteration {iteration}, expected {-n_iterations} .. {n_iterations - 1} or best"
            if n_iterations
            else f"no merge was made, so there is no iteration {iteration}"
        )
    return iteration % n_iterations


def is_cut_too_early(history: MergeHistory) -> bool:
    return 0 < history.best_n_merges == len(history) < history.c_components - 1
