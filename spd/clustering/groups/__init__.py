"""Which groups are real: from memberships to groups, and how sure. The public face of this room."""

from spd.clustering.groups.find import find_groups
from spd.clustering.groups.groups import Groups
from spd.clustering.groups.record import Control

__all__ = ["Control", "Groups", "find_groups"]
