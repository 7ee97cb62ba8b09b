"""One line at the bottom of a terminal that says what is going on; messages pass above it. No terminal: nothing."""

import logging
import shutil
import sys
import time
from types import TracebackType
from typing import Self

_SECONDS_BETWEEN_UPDATES = 0.2


class StatusLine:
    """Used as a context; only stderr on a terminal shows it."""

    def __init__(self) -> None:
        self._active = sys.stderr.isatty()
        self._last_update = 0.0
        self._shown = False
        self._filter = _ClearBeforeMessage(self)

    def __enter__(self) -> Self:
        for handler in logging.getLogger("spd").handlers:
            handler.addFilter(self._filter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        for handler in logging.getLogger("spd").handlers:
            handler.removeFilter(self._filter)

    def show(self, text: str) -> None:
        """Replace the line, at most a few times a second."""
        now = time.monotonic()
        if not self._active or now - self._last_update < _SECONDS_BETWEEN_UPDATES:
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\033[K{text[:width]}")
        sys.stderr.flush()
        self._last_update, self._shown = now, True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._shown = False


class _ClearBeforeMessage(logging.Filter):
    def __init__(self, line: StatusLine) -> None:
        super().__init__()
        self._line = line

    def filter(self, record: logging.LogRecord) -> bool:
        self._line.clear()
        return True
