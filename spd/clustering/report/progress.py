"""How far a long step of a report is: often to whoever shows it, now and then to the log."""

import logging
import time
from collections.abc import Callable

from spd.text import duration

logger = logging.getLogger(__name__)

Show = Callable[[str], None]
"""Takes a line of progress, as for a status line."""

_SECONDS_BETWEEN_LINES = 0.5
_SECONDS_BETWEEN_MESSAGES = 10.0


class Progress:
    """Counts from the moment it is made.

    Args:
        what: the step, `12,288 items`.
        n_total: units of work in it.
        show: takes the text twice a second; None: only the log has it.
        announce: say how long it will take as soon as that is known.
    """

    def __init__(self, what: str, n_total: int, show: Show | None = None, *, announce: bool = False) -> None:
        self._what = what
        self._n_total = n_total
        self._n_done = 0
        self._show = show
        self._announce = announce
        self._started = self._shown = self._logged = time.monotonic()

    def __call__(self, n_more: int) -> None:
        """So many units more are done."""
        self._n_done += n_more
        now = time.monotonic()
        left = duration((now - self._started) * max(self._n_total / max(self._n_done, 1) - 1, 0))
        if self._show is not None and now - self._shown > _SECONDS_BETWEEN_LINES:
            self._show(self._text(left))
            self._shown = now
        if self._announce:
            logger.info("%s: about %s", self._what, left)
            self._announce = False
        elif now - self._logged > _SECONDS_BETWEEN_MESSAGES:
            logger.info("%s", self._text(left))
            self._logged = now

    def _text(self, left: str) -> str:
        return f"{self._what}: {100 * self._n_done / self._n_total:.0f}% done, {left} left"
