"""Which component is active on which sample, in memory and on disk. The public face of this room."""

from spd.clustering.memberships.matrix import Memberships
from spd.clustering.memberships.rows import RowBlock

__all__ = ["Memberships", "RowBlock"]
