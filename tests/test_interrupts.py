"""A wish to stop is heeded wherever it comes, also where Python forgets what a handler raises."""

import os
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from spd.clustering.groups import find_groups
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig


class Thing:
    """Something that is destroyed."""


PROGRAM = """\
import os, signal, sys, time, weakref
from spd.clustering.scripts._command import make_parser, run_command

number, times = int(sys.argv[1]), int(sys.argv[2])

class Thing:
    pass

def interrupted_while_destroyed(_):
    os.kill(os.getpid(), number)
    for _ in range(1000):  # the handler runs in here, and what it raises is forgotten
        pass

def body(arguments):
    thing = Thing()
    watched = weakref.ref(thing, interrupted_while_destroyed)
    del thing
    for k in range(times - 1):  # those that come again are forgotten, too
        again = Thing()
        guard = weakref.ref(again, lambda _: time.sleep(0.5))
        del again
    print("went on", flush=True)
    time.sleep(20)

sys.exit(run_command(make_parser("test"), body, []))
"""


@pytest.mark.parametrize(("number", "status", "word"), [(2, 130, "interrupted"), (15, 143, "terminated")])
@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupt_that_python_forgets_comes_again(number: int, status: int, word: str, times: int) -> None:
    # Numbers 2 and 15 are SIGINT and SIGTERM.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number), str(times)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert "went on" in done.stdout, "the first one was not forgotten: nothing is shown"
    assert (done.returncode, done.stderr) == (status, f"error: {word}\n")


def test_other_errors_that_python_forgets_are_printed() -> None:
    program = """\
import sys
from spd.interrupts import interrupts_kept

class Thing:
    def __del__(self):
        raise ValueError("of a destroyed object")

with interrupts_kept():
    Thing()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "ValueError: of a destroyed object" in done.stderr


def test_a_merge_and_a_search_in_a_notebook_are_interrupted() -> None:
    """Ctrl-C while an object is destroyed, in what they call."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    active = np.random.default_rng(0).random((200, 30)) < 0.2
    calls = []

    def interrupted(*_: object) -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            thing = Thing()
            watched = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT) or sum(range(100)))
            del thing, watched
            time.sleep(1)

    try:
        history = merge_iteration(MergeConfig(iters=None), active, [f"m:{i}" for i in range(30)], interrupted)
        assert not history.is_complete
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            find_groups(active, progress=interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
