"""How far a harvest is, how fast it goes, and how long it will still take."""

import time
from collections.abc import Callable


class HarvestProgress:
    """Counts from the moment it is made.

    Args:
        n_expected: how many samples there will be; None where nobody knows.
        clock: seconds that only rise.
    """

    def __init__(self, n_expected: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._n_expected = n_expected
        self._clock = clock
        self._started = clock()

    def describe(self, n_done: int) -> str:
        """`12,288 of 100,000 samples, 4,096/s, 0:21 left`."""
        seconds = self._clock() - self._started
        parts = [f"{n_done:,} of {self._n_expected:,} samples" if self._n_expected else f"{n_done:,} samples"]
        if n_done and seconds > 0:
            rate = n_done / seconds
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
            if self._n_expected:
                parts.append(f"{_duration(max(self._n_expected - n_done, 0) / rate)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
