"""Histories of merges: what was merged, at what cost, and the partitions that follow; the public face of this room."""

from spd.clustering.merge_history.ensemble import MergeHistoryEnsemble
from spd.clustering.merge_history.foreign_ensemble import origin_histories, read_foreign_ensemble
from spd.clustering.merge_history.history import MergeHistory
from spd.clustering.merge_history.partitions import IterationError, MergeState, Partitions, checked_iteration
from spd.clustering.merge_history.record import HistoryDetails

__all__ = [
    "HistoryDetails",
    "IterationError",
    "MergeHistory",
    "MergeHistoryEnsemble",
    "MergeState",
    "Partitions",
    "checked_iteration",
    "origin_histories",
    "read_foreign_ensemble",
]
