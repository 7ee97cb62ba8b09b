"""How much time logging may take: at most 10 seconds or 5% of the run, whichever is more."""

import contextlib
import math
import time
from collections.abc import Iterator

ALLOWED_S = 10.0
ALLOWED_SHARE = 0.05


class Budget:
    """Measures what logging takes, and decides what there is still room for.

    Args:
        reserved_s: kept back for what comes at the end of the run.
        allowed_s: what logging may take of a run of any length.
        share: of the run's own time, what logging may take where that is more.

    Attributes:
        spent: seconds that logging has taken.
        n_skipped: how many of each kind were left out.
    """

    def __init__(self, reserved_s: float = 0.0, allowed_s: float = ALLOWED_S, share: float = ALLOWED_SHARE) -> None:
        self._reserved = reserved_s
        self._allowed = allowed_s
        self._share = share
        self._started = time.monotonic()
        self._last: dict[str, float] = {}
        self._n_done: dict[str, int] = {}
        self.spent = 0.0
        self.n_skipped: dict[str, int] = {}

    def left(self) -> float:
        """Seconds that logging may still take now, the reserve included."""
        work = time.monotonic() - self._started - self.spent
        return max(self._allowed, self._share * work) - self.spent

    def allows(self, kind: str, expected_s: float = 0.0) -> bool:
        """Whether there is room to log this kind once more. It is expected to take what it took last time; the first
        two times `expected_s`, since the very first time brings imports with it. A refusal is counted."""
        expected = self._last[kind] if self._n_done.get(kind, 0) > 1 else expected_s
        if expected <= self.left() - self._reserved:
            return True
        self.skip(kind)
        return False

    def skip(self, kind: str) -> None:
        """Count one that was left out."""
        self.n_skipped[kind] = self.n_skipped.get(kind, 0) + 1

    @contextlib.contextmanager
    def covering(self) -> Iterator[None]:
        """Count the block's time, of which some may be spent by kind inside it."""
        began, before = time.monotonic(), self.spent
        try:
            yield
        finally:
            self.spent = before + time.monotonic() - began

    @contextlib.contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """Measure what the block takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._last[kind] = time.monotonic() - began
            self._n_done[kind] = self._n_done.get(kind, 0) + 1
            self.spent += self._last[kind]


def thinned(interval: int, n_iters: int, max_points: int) -> int:
    """The smallest interval, not below the one asked for, at which a run of n_iters logs at most `max_points` times."""
    return max(interval, math.ceil(n_iters / max_points))
