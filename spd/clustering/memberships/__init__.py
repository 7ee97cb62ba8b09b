"""Which component is active on which sample, in memory and on disk. The public face of this room."""

from spd.clustering.memberships.matrix import Memberships

__all__ = ["Memberships"]
