"""What real processes that merge together wait for, and for how long: a merge in each, without a run around it."""

import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

MERGE = """
import sys, time
import numpy as np
from spd.clustering.execution import process_group
from spd.clustering.execution.rank_place import RankPlace
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.drive import drive_engine
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine

rank, port = int(sys.argv[1]), int(sys.argv[2])
process_group.BEAT_S, process_group.QUIET_S = 0.2, 2.0
group = process_group.join_ranks(RankPlace(rank, 2, "127.0.0.1", port))
active = np.random.default_rng(0).random((100, 8)) < 0.3
memberships = Memberships.from_activations(active, [f"m:{i}" for i in range(8)], 0.1)
engine = MergeEngine(memberships, EngineOptions("range", 0.0, 1.0, 7), np.random.default_rng(0), group)
"""


def outputs_of(last_lines: str) -> list[str]:
    """What two ranks print, errors included."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", MERGE + last_lines]
    processes = [
        subprocess.Popen(
            [*command, str(rank), port], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=120)[0].decode() for process in processes]


def test_no_rank_ends_while_rank_0_is_busy_with_the_last_merge() -> None:
    slow_at_the_end = "time.sleep(1 if i == 6 else 0)"
    outputs = outputs_of(f"print(drive_engine(engine, None if rank else lambda i: {slow_at_the_end}))")
    assert outputs == ["MergeOutcome(n_merges=7, is_complete=True)\n"] * 2


def test_an_interrupt_by_the_observer_of_the_last_merge_is_agreed_upon() -> None:
    outputs = outputs_of(
        "def observe(i):\n"
        "    if i == 6:\n"
        "        raise KeyboardInterrupt\n"
        "print(drive_engine(engine, None if rank else observe))"
    )
    assert outputs[1] == "MergeOutcome(n_merges=7, is_complete=False)\n"
    assert outputs[0].endswith(outputs[1])


def test_the_first_merges_may_take_long_on_one_rank_whose_kernels_are_not_compiled() -> None:
    slow_at_first = (
        "advance = engine.advance\n"
        "def slow_at_first(n):\n"
        "    time.sleep(4 if rank == 1 and engine.n_done == 0 else 0)\n"
        "    advance(n)\n"
        "engine.advance = slow_at_first\n"
    )
    outputs = outputs_of(f"{slow_at_first}print(drive_engine(engine))")
    assert outputs == ["MergeOutcome(n_merges=7, is_complete=True)\n"] * 2
