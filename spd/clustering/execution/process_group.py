"""Processes that make one merge together, each with a slice of the samples: torch.distributed with gloo.

`torchrun` or `srun` starts them and says in the environment who is who. They meet at rank 0's store, compare what they
were started with, and from then on only sum: `ProcessGroup` is what the merge engine calls `Ranks`. A process that has
ended closes its connections, which the others notice at once; one that hangs, after QUIET_S.

torch is imported when a group is joined, not before.
"""

import atexit
import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.execution.rank_place import RankPlace
from spd.errors import ConfigError, LostRankError, one_line

if TYPE_CHECKING:
    from torch import Tensor

JOIN_S = 45.0
"""How long ranks wait for each other to come, and to say what they were started with: with the imports before it less
than a minute."""
PATIENCE_S = 1800.0
"""How long a rank waits for another one that reads and counts, or compiles what makes the first merges."""
QUIET_S = 45.0
"""How long it waits between merges."""
BEAT_S = 10.0
"""Rank 0 says so often that it is busy, while others wait for it."""


def join_ranks(place: RankPlace, timeout_s: float = JOIN_S) -> "ProcessGroup":
    """Meet the other ranks.

    Raises:
        LostRankError: rank 0 cannot be reached, or not all come, within the timeout.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # errors are raised as well
    import torch.distributed as dist

    os.environ.update(MASTER_ADDR=place.address, MASTER_PORT=str(place.port))
    where = f"rank {place.rank} of {place.size}"
    until = time.monotonic() + timeout_s
    try:
        if place.rank:
            _wait_for(place, until)
        limit = timedelta(seconds=max(1.0, until - time.monotonic()))
        store, _, _ = next(dist.rendezvous("env://", place.rank, place.size, timeout=limit))
        dist.init_process_group(
            "gloo", store=store, rank=place.rank, world_size=place.size, timeout=timedelta(seconds=PATIENCE_S)
        )
        quick = dist.new_group(timeout=timedelta(seconds=QUIET_S), backend="gloo")
        atexit.register(_leave)
    except (RuntimeError, ValueError, OSError) as error:
        joined = re.search(r"(\d+)/(\d+) clients joined", str(error))
        if place.rank == 0 and joined is not None:
            raise LostRankError(
                f"{joined[1]} of {joined[2]} ranks have come to {place.address}:{place.port} within {timeout_s:.0f} s: "
                "start all of them, or none"
            ) from error
        raise LostRankError(
            f"{where}: no meeting with the other ranks at {place.address}:{place.port} within {timeout_s:.0f} s "
            f"({one_line(error, 200)})"
        ) from error
    return ProcessGroup(place, store, quick)


class ProcessGroup:
    """This rank among the others: see `merge_engine.ranks.Ranks`.

    Attributes:
        n_merges: how many all have agreed to make so far.
        n_sums, n_bytes, seconds: sums over ranks so far, what this rank has given to them, and how long it was in them,
            waiting for others included.
    """

    def __init__(self, place: RankPlace, store: Any, quick: Any) -> None:
        self.rank = place.rank
        self.size = place.size
        self.n_merges = 0
        self.n_sums = 0
        self.n_bytes = 0
        self.seconds = 0.0
        self._store = store
        self._quick = quick
        self._is_merging = False
        self._n_exchanged = 0
        self._before_merging: tuple[int, int] | None = None

    def sum(self, array: np.ndarray) -> None:
        """Replace a contiguous int32, int64 or float64 array by its sum over ranks.

        Raises:
            LostRankError: another rank has ended, or cannot be reached.
        """
        self._sum(array, self._quick if self._is_merging else None)

    def _sum(self, array: np.ndarray, group: Any) -> None:
        import torch
        import torch.distributed as dist

        tensor: Tensor = torch.from_numpy(array)
        started = time.monotonic()
        try:
            dist.all_reduce(tensor, group=group)
        except RuntimeError as error:
            raise LostRankError(
                f"rank {self.rank} of {self.size}: another rank has ended or cannot be reached, so this one ends, too: "
                f"what the last checkpoint holds can be taken up by any number of ranks ({_cause(error)})"
            ) from error
        self.seconds += time.monotonic() - started
        self.n_sums += 1
        self.n_bytes += array.nbytes

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While rank 0 is inside, the others wait in `agree`, however long it takes."""
        if self.rank != 0:
            yield
            return
        done = threading.Event()
        lost: list[LostRankError] = []

        def beat() -> None:
            while not done.wait(BEAT_S) and not lost:
                try:
                    self._sum(np.zeros(1 + 2 * self.size, np.int64), self._quick)
                except LostRankError as error:
                    lost.append(error)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if lost:
            raise lost[0]

    def agree(self, n_merges: int, is_interrupted: bool) -> tuple[int, bool]:
        """The least number that any rank gives, and whether any was interrupted.

        Raises:
            LostRankError: another rank has ended, or cannot be reached.
        """
        while True:
            numbers = np.zeros(1 + 2 * self.size, np.int64)
            numbers[0] = self.rank == 0  # what rank 0 says while it is busy leaves a 0 here
            numbers[1 + 2 * self.rank :][:2] = n_merges, is_interrupted
            self._sum(numbers, self._quick)
            if numbers[0] == 1:
                break
        agreed = int(numbers[1::2].min())
        self._is_merging = min(agreed, self.n_merges) > 0  # the first merges may be waited for, as kernels are compiled
        self.n_merges += agreed
        if agreed > 0 and self._before_merging is None:
            self._before_merging = self.n_sums, self.n_bytes
        return agreed, bool(numbers[2::2].any())

    def since_first_merge(self) -> tuple[int, int]:
        """How many sums there have been since merges are made, and what this rank has given to them, in bytes."""
        before = self._before_merging or (self.n_sums, self.n_bytes)
        return self.n_sums - before[0], self.n_bytes - before[1]

    def share(self, text: str) -> str:
        """What rank 0 says, on every rank.

        Raises:
            LostRankError: rank 0 does not say it.
        """
        return self._exchange(text if self.rank == 0 else None, [0], PATIENCE_S)[0]

    def of_all(self, text: str) -> list[str]:
        """What each rank says, in their order.

        Raises:
            LostRankError: one does not.
        """
        return self._exchange(text, range(self.size), JOIN_S)

    def _exchange(self, own: str | None, ranks: Sequence[int], timeout_s: float) -> list[str]:
        number = self._n_exchanged
        self._n_exchanged += 1
        try:
            if own is not None:
                self._store.set(f"said/{number}/{self.rank}", own)
            self._store.wait([f"said/{number}/{rank}" for rank in ranks], timedelta(seconds=timeout_s))
            return [self._store.get(f"said/{number}/{rank}").decode() for rank in ranks]
        except RuntimeError as error:
            raise LostRankError(
                f"rank {self.rank} of {self.size}: another rank has ended before the work began ({_cause(error)})"
            ) from error

    def check_same(self, **texts: str) -> None:
        """Whether all ranks were started with the same; called by all of them with the same names.

        Raises:
            ConfigError: the first name, and the first rank, whose text is not rank 0's.
        """
        for name, text in texts.items():
            said = self.of_all(text)
            other = next((rank for rank, theirs in enumerate(said) if theirs != said[0]), None)
            if other is not None:
                with contextlib.suppress(LostRankError):  # rank 0's store is there until all know what it says
                    self.of_all(name)
                raise ConfigError(
                    f"rank {other} was started with another {name} than rank 0: all {self.size} ranks of a merge must "
                    "be started alike"
                )

    def neighbours(self) -> tuple[int, int]:
        """How many ranks share this one's memory, and how many its cores, itself included."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        own = f"{socket.gethostname()} {cores}"
        said = self.of_all(own)
        return sum(text.split()[0] == own.split()[0] for text in said), said.count(own)


def _leave() -> None:
    """End the threads of the group before the interpreter does: it would abort, with a result that is good."""
    import torch.distributed as dist

    with contextlib.suppress(RuntimeError, ValueError, AssertionError):
        dist.destroy_process_group()


def _wait_for(place: RankPlace, until: float) -> None:
    """Until rank 0's store takes connections; torch itself would try for several times as long.

    Args:
        until: by time.monotonic.

    Raises:
        OSError: it does not.
    """
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=max(1.0, until - time.monotonic())).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _cause(error: Exception) -> str:
    """What gloo says, without its source files and advice."""
    return re.sub(r"\[[^\]]*\.(?:cc|cpp|h):\d+\] *", "", one_line(error)).split(". ")[0][:160]
