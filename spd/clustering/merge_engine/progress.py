"""How far a merge is: a bar on a terminal, a line in the log now and then elsewhere."""

import logging
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from spd.clustering.merge_engine.engine import MergeEngine

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Shows iteration, groups left, cost of the last merge, time left; shows nothing when not wanted."""

    def __init__(self, engine: MergeEngine, wanted: bool) -> None:
        self._engine = engine
        self._bar = _bar(engine) if wanted and sys.stderr.isatty() else None
        self._wanted = wanted
        self._first = engine.n_done
        self._started = self._reported = time.monotonic()

    def update(self) -> None:
        """Show what is new."""
        done = self._engine.n_done
        if self._bar is not None:
            if done > self._bar.n:
                self._bar.set_postfix(groups=self._engine.k_groups, cost=f"{self._cost():.4g}", refresh=False)
                self._bar.update(done - self._bar.n)
        elif self._wanted and time.monotonic() - self._reported > SECONDS_BETWEEN_LINES:
            self._reported = time.monotonic()
            rate = (done - self._first) / (self._reported - self._started)
            left = (self._engine.options.n_merges - done) / rate if rate > 0 else float("inf")
            logger.info(
                "merge %d of %d, %d groups left, cost %.4g, about %.0f s left",
                done,
                self._engine.options.n_merges,
                self._engine.k_groups,
                self._cost(),
                left,
            )

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _cost(self) -> float:
        done = self._engine.n_done
        return self._engine.cost_and_mdl(done - 1)[0] if done else 0.0


def _bar(engine: MergeEngine) -> "tqdm[NoReturn]":
    from tqdm import tqdm

    return tqdm(total=engine.options.n_merges, initial=engine.n_done, desc="merging", unit="merge")
