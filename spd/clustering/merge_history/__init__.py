"""Histories of merges: what was merged, at what cost, and the partitions that follow; the public face of this room."""

from spd.clustering.merge_history.ensemble import MergeHistoryEnsemble
from spd.clustering.merge_history.history import MergeHistory, MergeState
from spd.clustering.merge_history.partitions import IterationError, Partitions

__all__ = ["IterationError", "MergeHistory", "MergeHistoryEnsemble", "MergeState", "Partitions"]
