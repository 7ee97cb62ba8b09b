"""How much of each group a report holds: less of each where there are many, so that the page stays small."""

from dataclasses import dataclass

MAX_PAGE_BYTES = 25 * 2**20
MAX_INSIDE = 48
"""Components of a group that its matrix and its table of members show, those that are active most while it fires."""


@dataclass(frozen=True)
class Limits:
    """Numbers of places.

    Attributes:
        n_top: strongest places of a group.
        n_per_band: places drawn from each band of strength below.
        n_member: strongest places of each component.
    """

    n_top: int = 20
    n_per_band: int = 5
    n_member: int = 3

    @classmethod
    def for_groups(cls, n_groups: int, n_components: int) -> "Limits":
        """All of it up to 1,000 groups or so."""
        if n_groups <= 1000 and n_components <= 4000:
            return cls()
        if n_groups <= 3000 and n_components <= 12000:
            return cls(12, 3, 2)
        return cls(10, 2, 1)

    def left_out(self) -> list[str]:
        """What a smaller report lacks, in words."""
        full = Limits()
        if self == full:
            return []
        return [
            f"of each group {self.n_top} strongest places and {self.n_per_band} of each band are kept instead of "
            f"{full.n_top} and {full.n_per_band}, of each component {self.n_member} instead of {full.n_member}, since "
            "there are many groups"
        ]
