"""Interrupts that come while a kernel is compiled.

Python runs a signal's handler at the first line of Python after the signal: after seconds in LLVM that is where LLVM
calls back with its machine code, from where no exception comes through. A Ctrl-C there would be printed, and lost.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_CALLBACKS = "_raw_object_cache_"
"""What llvmlite's functions that LLVM calls are named after."""


@contextlib.contextmanager
def held_in_callbacks() -> Iterator[None]:
    """SIGINT and SIGTERM that come inside while LLVM calls back are handled at the end, and others at once."""
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one, whoever compiles
        yield
        return
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    held: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if _is_in_callback(frame):
            held.append(number)
        else:
            before[number](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def _is_in_callback(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name.startswith(_CALLBACKS):
            return True
        frame = frame.f_back
    return False
