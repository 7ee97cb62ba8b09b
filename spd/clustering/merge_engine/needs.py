"""What a merge will take, from sizes alone. N samples, n components, E active entries, a = E / N of them on a sample:

    bytes    E (2 or 4 for the rows, 4 for the groups' samples, 8 for soft values) + 36 N, the part of one rank of it;
             5 n^2 for coactivations and their moves (10 n^2 for soft ones), or what they may take. Bitsets: N n / 8
             instead of the first, and 2 E while they are filled.
    seconds  counting   (0.55e-9 E a + 11e-9 n^2), divided over the threads
             merging    90e-9 E + 14e-9 n^2; samplers other than greedy 1.2 x the first and 25e-9 n^2 more
             ranks      1.2e-3 for each merge

Measured on planted memberships, n = 2,000 to 10,000 and E = 5e6 to 4e8, one and two cores of an AMD EPYC.
"""

from dataclasses import dataclass

from spd.clustering.merge_engine.representation import estimated_work, rows_that_fit

_SAMPLE_BYTES = 36
_PAIR_S, _FIRST_PAIR_S = 0.55e-9, 11e-9
_ENTRY_S, _NEXT_PAIR_S, _DRAWN_PAIR_S = 90e-9, 14e-9, 25e-9
_DRAWN_ENTRIES = 1.2
_SUM_S = 1.2e-3
_MOVED = 1.25
"""While containers are renumbered, the kept rows and a quarter of them again are held."""


@dataclass(frozen=True)
class MergeSize:
    """Of the input of a merge.

    Attributes:
        mean_active: components on a sample.
        is_soft: entries have values.
    """

    n_samples: int
    n_components: int
    mean_active: float
    is_soft: bool = False

    @property
    def n_entries(self) -> float:
        return self.n_samples * self.mean_active

    @property
    def _work(self) -> tuple[float, float]:
        return estimated_work(self.n_entries * self.mean_active, self.n_samples, self.n_components)

    @property
    def uses_bits(self) -> bool:
        """Whether bitsets are less work than rows."""
        rows, bitsets = self._work
        return bitsets < rows and not self.is_soft

    def sample_bytes(self, n_ranks: int = 1) -> float:
        """What the samples take on one rank."""
        row_id = 2 if self.n_components <= 2**16 else 4
        if self.uses_bits:
            return (self.n_samples * self.n_components / 8 + row_id * self.n_entries) / n_ranks
        entry = row_id + 4 + (8 if self.is_soft else 0)
        return (entry * self.n_entries + _SAMPLE_BYTES * self.n_samples) / n_ranks

    def bytes(self, row_limit: float, n_ranks: int = 1) -> float:
        """What a merge takes in all, on one rank, beside its input.

        Args:
            row_limit: what coactivations may take.
        """
        n, itemsize = self.n_components, 8 if self.is_soft else 4
        kept = rows_that_fit(n, itemsize, int(min(row_limit, 1e18)))
        return self.sample_bytes(n_ranks) + _MOVED * kept * n * itemsize

    def seconds(self, *, is_greedy: bool, n_threads: int, n_ranks: int = 1) -> float:
        """Down to one group, on cores that do nothing else."""
        pairs = float(self.n_components) ** 2
        drawn = 0.0 if is_greedy else _DRAWN_PAIR_S * pairs
        sums = 0.0 if n_ranks == 1 else _SUM_S * self.n_components
        if self.uses_bits:
            return self._work[1] * 1e-9 * (0.5 / n_threads + 0.5) / n_ranks + drawn + sums
        counting = (_PAIR_S * self.n_entries * self.mean_active / n_ranks + _FIRST_PAIR_S * pairs) / n_threads
        moved = _ENTRY_S * self.n_entries / n_ranks * (1.0 if is_greedy else _DRAWN_ENTRIES)
        return counting + moved + _NEXT_PAIR_S * pairs + drawn + sums
