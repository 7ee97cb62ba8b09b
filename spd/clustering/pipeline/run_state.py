"""How far a run is, and how its failure is told: decided here and nowhere else.

    nothing  ->  checkpoint/  (harvested, being merged)  ->  history.zip beside checkpoint/  (groups.json or figures are
                 missing)  ->  history.zip without checkpoint/: finished (groups.json: but for runs of older versions)

A member that fails, whatever the reason and in whichever process (a harvest here, a merge in a child, a SLURM job),
gets the state `failed` and the sentence of `spd.errors.describe_error`; the other members go on. One that is stopped
is `pending` again.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spd.clustering.ensemble_registry import MemberState, RegisteredMember, set_member_state
from spd.clustering.pipeline.drawn import read_memberships
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import SPDError, describe_error
from spd.files.lock import locked

logger = logging.getLogger(__name__)

SECONDS_FOR_THE_LOCK = 60.0
"""A process whose pipeline was killed stops well within this time."""


@dataclass(frozen=True)
class Failure:
    """A member, or a step after the members, that failed.

    Attributes:
        what: `member 3`, or the step's name.
        reason: one sentence.
    """

    what: str
    reason: str


def is_finished(paths: RunPaths) -> bool:
    """Whether nothing is left to do for this run, as far as its files' presence shows."""
    return paths.history.is_file() and not paths.checkpoint.exists()


def working_on(
    paths: RunPaths | EnsemblePaths, timeout_s: float = SECONDS_FOR_THE_LOCK
) -> contextlib.AbstractContextManager[None]:
    """Keep other processes off this run or ensemble; one that was killed has let go of it.

    Raises:
        SPDError: another process works on it and goes on doing so, or the lock cannot be written.
    """
    return locked(paths.lock, f"{paths.directory}: another process works on it", timeout_s=timeout_s)


def has_saved_memberships(paths: RunPaths) -> bool:
    """Whether an earlier call got as far as memberships that can be read."""
    try:
        read_memberships(paths)
    except SPDError:
        return False
    return True


def clear_half_written(paths: RunPaths) -> None:
    """Remove temporary files of a process that was killed."""
    for directory in (paths.directory, paths.checkpoint, paths.checkpoint_memberships, paths.plots):
        for leftover in directory.glob(".*.tmp*"):
            leftover.unlink(missing_ok=True)


def record_failure(ensemble_id: str, member: RegisteredMember, reason: str) -> Failure:
    """A member has failed: say so in the log and in the registry."""
    failure = Failure(member_name(member.idx), reason)
    logger.error("%s (%s) failed: %s", failure.what, member.run_id, reason)
    _try_to_record(ensemble_id, member.idx, "failed", reason)
    return failure


@contextlib.contextmanager
def recorded(ensemble_id: str, idx: int, *, job_id: str | None = None) -> Iterator[None]:
    """Work on a member in this process, and record in the registry how it goes; errors pass on."""
    set_member_state(ensemble_id, idx, "running", job_id=job_id)
    try:
        yield
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        _try_to_record(ensemble_id, idx, "pending" if is_stopped else "failed", describe_error(error))
        raise
    set_member_state(ensemble_id, idx, "done")


def _try_to_record(ensemble_id: str, idx: int, state: MemberState, reason: str) -> None:
    """What made the member fail (a full disk) may keep the registry from being written: that is no second error."""
    try:
        set_member_state(ensemble_id, idx, state, error=reason)
    except SPDError as error:
        logger.warning("that member %d of %s is %s could not be recorded: %s", idx, ensemble_id, state, error)


def member_name(idx: int) -> str:
    """What messages call a member."""
    return f"member {idx}"


def describe_failures(paths: EnsemblePaths, failures: Sequence[Failure], n_finished: int, n_members: int) -> str:
    """All failures in a sentence, the same reason once, and what to do."""
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        by_reason.setdefault(failure.reason, []).append(failure.what)
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    return (
        f"{len(failures)} failed: {reasons}; {n_finished} of {n_members} members are finished and kept: "
        f"`spd-clustering --resume {paths.ensemble_id} --local` does what is missing"
    )
