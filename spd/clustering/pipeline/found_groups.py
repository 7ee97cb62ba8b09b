"""The groups of a run: found while its memberships are at hand, saved beside its history, read again for an ensemble.

They are found in the memberships, on a tree of their own: neither alpha nor the merge history has a say in them. Once
the memberships are gone they cannot be made, only read; runs of older versions and of other tools have none.
"""

import logging
from collections.abc import Callable, Sequence

from spd.clustering.ensemble_registry import RegisteredMember
from spd.clustering.groups import Groups, find_groups
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.provenance import Fingerprints, read_manifest
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.fingerprint import fingerprint

logger = logging.getLogger(__name__)


def save_found_groups(
    paths: RunPaths,
    memberships: Memberships,
    *,
    seed: int = 0,
    n_threads: int | None = None,
    report: Callable[[str], None] | None = None,
) -> Groups:
    """Find the groups of a run and write groups.json, unless it is there, whole, and of these memberships.

    Args:
        seed: of the control's shifts.
        n_threads: at most; None: one a core.
        report: takes a line of progress. What it raises ends the search.

    Raises:
        SPDError: the file cannot be written.
    """
    try:
        return Groups.read(paths.groups, memberships=memberships)
    except MissingFileError:
        pass
    except SPDError as error:
        logger.warning("%s; the groups are found again", error)

    def progress(stage: str, done: int, total: int) -> None:
        if report is not None:
            report(f"groups: {stage}, {done:,} of {total:,}")

    groups = find_groups(memberships, seed=seed, n_threads=n_threads, progress=progress)
    groups.save(paths.groups)
    return groups


def describe_groups_found(groups: Groups) -> str:
    """How many there are, and how many chance gives, for the log."""
    found = f"found {count_groups(groups):,} groups of two or more, {count_alone(groups):,} components are alone"
    if groups.control is None:
        return found
    chance = groups.control
    return f"{found}; where columns are shifted in time, {chance.n_joined:,} are joined, in {chance.n_groups:,} groups"


def count_groups(groups: Groups) -> int:
    """Groups of two or more components."""
    return int((groups.sizes > 1).sum())


def count_alone(groups: Groups) -> int:
    """Components that are alone."""
    return int((groups.sizes == 1).sum())


def read_found_groups(paths: RunPaths, history: MergeHistory) -> Groups:
    """The groups of a finished run.

    Raises:
        MissingFileError: it has none.
        DamagedFileError: the file is damaged, or not the one that the run wrote.
        SPDError: it is of another run.
    """
    if not paths.groups.is_file():
        raise MissingFileError(
            f"{paths.groups}: is not there, and groups are found while the memberships are at hand: a run that an "
            "older version or another tool has made must be made again to have them"
        )
    groups = Groups.read(paths.groups)
    if set(groups.labels) != set(history.labels):
        raise SPDError(
            f"{paths.groups}: belongs to another run: it has {len(groups.labels)} components, {paths.history} has "
            f"{len(history.labels)}, {len(set(groups.labels) & set(history.labels))} are in both"
        )
    manifest = read_manifest(paths.manifest)
    expected = None if manifest is None else manifest.files.get(paths.groups.name)
    if expected is not None and fingerprint(paths.groups) != expected:
        raise DamagedFileError(f"{paths.groups}: is not the file that the run wrote; --resume makes it again")
    return groups


def read_members_groups(
    paths: EnsemblePaths, members: Sequence[RegisteredMember], histories: Sequence[MergeHistory]
) -> list[Groups]:
    """The groups of each member.

    Raises:
        MissingFileError: members have none; says which.
        SPDError: one is damaged or of another run.
    """
    runs = [paths.run(member.run_id) for member in members]
    lacking = [str(member.idx) for member, run in zip(members, runs, strict=True) if not run.groups.is_file()]
    if lacking:
        raise MissingFileError(
            f"{paths.ensemble_id}: {len(lacking)} of {len(members)} members have no {runs[0].groups.name} (member "
            f"{', '.join(lacking)}): groups are found while a member is made, and an older version or another tool "
            "has made these; or the files were removed, which --resume mends"
        )
    return [read_found_groups(run, history) for run, history in zip(runs, histories, strict=True)]


def groups_fingerprints(paths: EnsemblePaths, members: Sequence[RegisteredMember]) -> Fingerprints:
    """Fingerprints of the members' groups, where they have some, by `<run id>/groups.json`.

    Raises:
        SPDError: one cannot be read.
    """
    files = [paths.run(member.run_id).groups for member in members]
    return {f"{file.parent.name}/{file.name}": fingerprint(file) for file in files if file.is_file()}
