"""Drives an engine to its end: in calls short enough to be interrupted, with observers and checkpoints in between."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Self

from spd.clustering.merge_engine.checkpoint import Checkpoint
from spd.clustering.merge_engine.engine import MergeEngine
from spd.clustering.merge_engine.progress import Progress

logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.getsignal` returns."""

SECONDS_PER_CALL = 0.1
"""A kernel cannot be interrupted, so each call makes about so many seconds' worth of merges."""
MDL_MARGIN = 0.01
"""`stop_at_mdl_minimum`: the minimum counts as passed once the MDL is this much (relative) above the least so far."""


@dataclass(frozen=True)
class MergeOutcome:
    """How a merge ended.

    Attributes:
        n_merges: merges that count.
        is_complete: False: it was interrupted.
    """

    n_merges: int
    is_complete: bool


def drive_engine(
    engine: MergeEngine,
    observe: Callable[[int], object] | None = None,
    *,
    next_state: Callable[[int], int] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
    stop_at_minimum: bool = False,
) -> MergeOutcome:
    """Merge until the engine is finished, the MDL minimum is passed (if asked for), or an interrupt comes.

    Args:
        observe: called with the number of each merge, in order.
        next_state: for the number of a merge, the number of the first one from there on that is to be observed before
            another merge is made; None: all of them.
        checkpoint: written now and then, and on an interrupt. SIGTERM then counts as an interrupt.

    Where samples are divided over ranks, all of them make as many merges at a time and stop at the same one, whichever
    was interrupted; only rank 0 observes, shows progress and writes.

    Raises:
        LostRankError: another rank has ended, or cannot be reached.
    """
    ranks = engine.ranks
    is_first = ranks.rank == 0
    display = Progress(engine, progress and is_first)
    minimum = _Minimum(engine)
    pace = _Pace()
    seen = engine.n_done
    end = None

    def show(end: int) -> None:
        nonlocal seen
        while observe is not None and seen < end:
            seen += 1
            observe(seen - 1)

    with _Interrupts(engine, sigterm=checkpoint is not None) as interrupts:
        try:
            while end is None and not engine.is_finished:
                limit = engine.options.n_merges - engine.n_done
                if observe is not None:
                    limit = 1 if next_state is None else next_state(engine.n_done) + 1 - engine.n_done
                n_merges, is_interrupted = ranks.agree(pace.n_merges(limit), interrupts.is_deferred)
                interrupts.raise_deferred(is_interrupted)
                pace.advance(engine, n_merges, limit)
                with ranks.busy():
                    interrupts.raise_deferred()
                    end = minimum.passed_at() if stop_at_minimum else None
                    show(engine.n_done if end is None else end)
                    display.update()
                    if checkpoint is not None and is_first:
                        checkpoint.write_if_due(engine)
            # no rank ends while rank 0 is busy with the last merges
            interrupts.raise_deferred(ranks.agree(0, interrupts.is_deferred)[1])
        except KeyboardInterrupt:
            if not interrupts.is_agreed:  # it came from an observer
                ranks.agree(0, True)
            if is_first:
                logger.warning("interrupted after %d of %d merges", engine.n_done, engine.options.n_merges)
            with interrupts.held(), ranks.busy():
                if checkpoint is not None and is_first:
                    checkpoint.write(engine)
            show(engine.n_done)
            ranks.agree(0, True)  # the others end when what was done is safe
            return MergeOutcome(engine.n_done, False)
        finally:
            display.close()
    return MergeOutcome(engine.n_done if end is None else end, True)


class _Pace:
    """Makes about SECONDS_PER_CALL worth of merges a call."""

    def __init__(self) -> None:
        self._n_merges = 1

    def n_merges(self, limit: int) -> int:
        """How many to make next, at most `limit`."""
        return max(1, min(self._n_merges, limit))

    def advance(self, engine: MergeEngine, n_merges: int, limit: int) -> None:
        """Make merges."""
        started = time.monotonic()
        engine.advance(n_merges)
        took = time.monotonic() - started
        if took > SECONDS_PER_CALL:
            self._n_merges = max(1, self._n_merges // 2)
        elif took < SECONDS_PER_CALL / 2 and self._n_merges <= limit:
            self._n_merges *= 2


class _Minimum:
    """Follows the MDL of an engine's merges."""

    def __init__(self, engine: MergeEngine) -> None:
        self._engine = engine
        self._minimum = engine.initial_mdl
        self._looked_at = 0

    def passed_at(self) -> int | None:
        """The number of merges after which the MDL has passed its minimum by the margin; None: it has not."""
        while self._looked_at < self._engine.n_done:
            mdl = self._engine.cost_and_mdl(self._looked_at)[1]
            self._looked_at += 1
            self._minimum = min(self._minimum, mdl)
            if mdl > self._minimum * (1 + MDL_MARGIN):
                return self._looked_at
        return None


class _Interrupts:
    """While inside, an interrupt that comes while the engine is busy waits until it is not. With several ranks it
    always waits, until all have agreed to stop.

    Args:
        sigterm: whether SIGTERM interrupts like Ctrl-C, unless the program handles it already.

    Attributes:
        is_agreed: whether all ranks have stopped for an interrupt.
    """

    def __init__(self, engine: MergeEngine, *, sigterm: bool) -> None:
        self._engine = engine
        self._sigterm = sigterm
        self._before: dict[int, Handler] = {}
        self._deferred: int | None = None
        self._is_held = False
        self._is_shared = engine.ranks.size > 1
        self.is_agreed = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler) or (number == signal.SIGTERM and self._sigterm and handler is signal.SIG_DFL):
                    self._before[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._is_shared and self._deferred is not None and not self.is_agreed:  # it came after the last merge
            signal.raise_signal(self._deferred)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_shared or self._engine.is_busy or self._is_held:
            self._deferred = number
            return
        before = self._before[number]
        (before if callable(before) else signal.default_int_handler)(number, frame)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, other interrupts wait, too; there has been one, so that nothing need be done about them later."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    @property
    def is_deferred(self) -> bool:
        """Whether an interrupt waits."""
        return self._deferred is not None

    def raise_deferred(self, is_agreed: bool = False) -> None:
        """Interrupt now, if an interrupt had to wait, of this rank or, where ranks have agreed, of any."""
        if self._is_shared:
            self.is_agreed = is_agreed
            if is_agreed:
                raise KeyboardInterrupt
        elif self._deferred is not None:
            number, self._deferred = self._deferred, None
            self._handle(number, None)
