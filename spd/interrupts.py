"""Wishes to stop: SIGTERM as an exception, and interrupts that Python would forget.

The handler of a signal runs between any two lines of Python. Where it raises while an object is being destroyed (in a
callback of a weak reference, in `__del__`) or in a callback of C code (LLVM's, while a kernel is compiled), Python
prints "Exception ignored in ..." and goes on as if nobody had asked to stop: a job then works until it is killed, with
nothing saved. Plots make and destroy such objects all the time.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from spd.errors import Terminated

_AGAIN_S = 0.05


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """A handler for SIGTERM."""
    raise Terminated


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Inside, an interrupt that Python would forget comes again shortly after, as often as it takes. For a `with`, or
    as a decorator; in other threads than the main one, which no signal interrupts, nothing is changed."""
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return
    before, is_over = sys.unraisablehook, False

    def send_again(number: int) -> None:
        if not is_over and main.ident is not None:
            signal.pthread_kill(main.ident, number)  # a real one, to the main thread: it ends a wait of the system, too

    def look(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt) or is_over:
            before(unraisable)
            return
        number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
        again = threading.Timer(_AGAIN_S, send_again, [number])
        again.daemon = True
        again.start()

    sys.unraisablehook = look
    try:
        yield
    finally:
        is_over = True
        sys.unraisablehook = before
