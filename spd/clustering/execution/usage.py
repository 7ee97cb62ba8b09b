"""What a process has used: wall time, CPU time, peak memory."""

import time
from dataclasses import dataclass
from typing import Self

from spd.machine import cpu_seconds, peak_bytes


@dataclass(frozen=True)
class Usage:
    """Of one process.

    Attributes:
        wall_s: seconds from its start, or from the moment that was given.
        cpu_s: seconds of CPU time, of all its threads.
        peak_bytes: the most memory that it has held.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    @classmethod
    def since(cls, started: float) -> Self:
        """Of this process, its wall time counted from a moment of time.monotonic()."""
        return cls(time.monotonic() - started, cpu_seconds(), peak_bytes())

    def line(self, name: str) -> str:
        """One line for people."""
        mib = self.peak_bytes / 2**20
        return f"{name}: {self.wall_s:.1f} s wall time, {self.cpu_s:.1f} s CPU time, {mib:.0f} MiB peak memory"
