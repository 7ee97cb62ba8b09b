"""ensemble_registry.db: which clustering runs make up an ensemble, and how far each of them is.

The table `ensemble_runs` is the one that goodfire-ai/spd writes, so that either side opens the other's file; states are
in a table of their own, which a file of theirs lacks (its members count as pending). Every change is one short
transaction that takes the write lock first and waits for it, so that any number of processes may register at once; the
journal is SQLite's plain one, since WAL does not work on network file systems.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from spd.clustering.storage import registry_path
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError

MemberState = Literal["pending", "running", "done", "failed", "damaged"]
"""`damaged` is never stored: it is what a summary shows of a member that is `done` but whose files are not whole."""

BUSY_TIMEOUT_S = 120.0
"""How long a process waits for others to finish their transactions, each of which takes milliseconds."""

_TABLES = """
CREATE TABLE IF NOT EXISTS ensemble_runs (
    pipeline_run_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    clustering_run_id TEXT NOT NULL,
    PRIMARY KEY (pipeline_run_id, idx)
);
CREATE INDEX IF NOT EXISTS idx_pipeline_run_id ON ensemble_runs (pipeline_run_id);
CREATE TABLE IF NOT EXISTS member_states (
    pipeline_run_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    job_id TEXT,
    started TEXT,
    ended TEXT,
    PRIMARY KEY (pipeline_run_id, idx)
);
"""


@dataclass(frozen=True)
class RegisteredMember:
    """One clustering run of an ensemble, as the registry knows it.

    Attributes:
        idx: its index in the ensemble.
        state: how far it is.
        error: why it failed, in one line.
        job_id: the SLURM task that runs it, or ran it last.
        started, ended: UTC, ISO 8601; None where it has not come to that.
    """

    idx: int
    run_id: str
    state: MemberState = "pending"
    error: str | None = None
    job_id: str | None = None
    started: str | None = None
    ended: str | None = None


def register_clustering_run(pipeline_run_id: str, clustering_run_id: str) -> int:
    """Add a run to an ensemble and return its index: the next free one, whoever else registers at the same time."""
    with _writing() as database:
        (idx,) = database.execute(
            "SELECT COALESCE(MAX(idx) + 1, 0) FROM ensemble_runs WHERE pipeline_run_id = ?", (pipeline_run_id,)
        ).fetchone()
        database.execute("INSERT INTO ensemble_runs VALUES (?, ?, ?)", (pipeline_run_id, idx, clustering_run_id))
    return int(idx)


def register_members(pipeline_run_id: str, clustering_run_ids: Sequence[str]) -> None:
    """All runs of a new ensemble, indices 0, 1, ..., pending, in one transaction.

    Raises:
        ConfigError: the ensemble has members already.
    """
    with _writing() as database:
        if database.execute("SELECT 1 FROM ensemble_runs WHERE pipeline_run_id = ?", (pipeline_run_id,)).fetchone():
            raise ConfigError(f"the ensemble {pipeline_run_id} is registered already")
        rows = [(pipeline_run_id, idx, run_id) for idx, run_id in enumerate(clustering_run_ids)]
        database.executemany("INSERT INTO ensemble_runs VALUES (?, ?, ?)", rows)
        database.executemany(
            "INSERT INTO member_states (pipeline_run_id, idx, state) VALUES (?, ?, 'pending')",
            [row[:2] for row in rows],
        )


def get_clustering_runs(pipeline_run_id: str) -> list[tuple[int, str]]:
    """(index, run id) of an ensemble's members, by index; none for an ensemble that is not registered."""
    return [(member.idx, member.run_id) for member in get_members(pipeline_run_id)]


def get_members(pipeline_run_id: str, *, path: Path | None = None) -> list[RegisteredMember]:
    """An ensemble's members with their states, by index; `path` is a registry elsewhere than in SPD_OUT_DIR.

    Raises:
        SPDError: the registry cannot be read, or holds what is no member.
    """
    path = path or registry_path()
    if not path.exists():
        return []
    with _reading(path) as database:
        rows = _select(
            database,
            "ensemble_runs",
            "SELECT idx, clustering_run_id FROM ensemble_runs WHERE pipeline_run_id = ? ORDER BY idx",
            pipeline_run_id,
        )
        states = _select(
            database,
            "member_states",
            "SELECT idx, state, error, job_id, started, ended FROM member_states WHERE pipeline_run_id = ?",
            pipeline_run_id,
        )
    if not all(isinstance(idx, int) and isinstance(run_id, str) for idx, run_id in rows):
        raise DamagedFileError(f"{path}: a member of {pipeline_run_id} has an index or run id of another type")
    by_idx = {idx: tuple(rest) for idx, *rest in states}
    return [RegisteredMember(idx, run_id, *by_idx.get(idx, ())) for idx, run_id in rows]


def get_member(pipeline_run_id: str, idx: int) -> RegisteredMember | None:
    """The member registered under (ensemble, index), or None."""
    return next((member for member in get_members(pipeline_run_id) if member.idx == idx), None)


def set_member_state(
    pipeline_run_id: str, idx: int, state: MemberState, *, error: str | None = None, job_id: str | None = None
) -> None:
    """Record how far a member is. `error` is kept to its last line; a job id that is not given stays what it was.

    Raises:
        MissingFileError: there is no such member.
    """
    assert state in get_args(MemberState)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    last_line = error.strip().splitlines()[-1] if error and error.strip() else None
    with _writing() as database:
        if not database.execute(
            "SELECT 1 FROM ensemble_runs WHERE pipeline_run_id = ? AND idx = ?", (pipeline_run_id, idx)
        ).fetchone():
            raise MissingFileError(f"the ensemble {pipeline_run_id} has no member {idx} in {registry_path()}")
        database.execute(
            """
            INSERT INTO member_states VALUES (:ensemble, :idx, :state, :error, :job, :started, :ended)
            ON CONFLICT (pipeline_run_id, idx) DO UPDATE SET
                state = :state, error = :error, job_id = COALESCE(:job, job_id),
                started = CASE :state WHEN 'pending' THEN NULL WHEN 'running' THEN :started ELSE started END,
                ended = :ended
            """,
            {
                "ensemble": pipeline_run_id,
                "idx": idx,
                "state": state,
                "error": last_line,
                "job": job_id,
                "started": now if state == "running" else None,
                "ended": now if state in ("done", "failed") else None,
            },
        )


def set_member_jobs(pipeline_run_id: str, job_ids: Mapping[int, str]) -> None:
    """Record which jobs run members (index -> job id); their states stay what they are, since a job may have begun."""
    with _writing() as database:
        database.executemany(
            """
            INSERT INTO member_states (pipeline_run_id, idx, state, job_id) VALUES (?, ?, 'pending', ?)
            ON CONFLICT (pipeline_run_id, idx) DO UPDATE SET job_id = excluded.job_id
            """,
            [(pipeline_run_id, idx, job_id) for idx, job_id in job_ids.items()],
        )


def list_ensembles() -> list[str]:
    """The ids of all registered ensembles, oldest first."""
    path = registry_path()
    if not path.exists():
        return []
    with _reading(path) as database:
        query = "SELECT pipeline_run_id FROM ensemble_runs GROUP BY 1 ORDER BY MIN(rowid)"
        rows = _select(database, "ensemble_runs", query)
    return [row[0] for row in rows]


def _select(database: sqlite3.Connection, table: str, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Rows; none where the file lacks the table: it is empty, or goodfire-ai/spd's."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
        return []
    return database.execute(query, values).fetchall()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads.

    A writer that was killed in a transaction leaves its journal, which must be rolled back before anything can be read;
    that takes a connection that may write.
    """
    with _translated(path):
        database = _connect(path, "ro")
        try:
            database.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            database.close()
            if "readonly" not in str(error):
                raise
            database = _connect(path, "rw")
        with contextlib.closing(database):
            yield database


def _connect(path: Path, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


@contextlib.contextmanager
def _writing() -> Iterator[sqlite3.Connection]:
    """A connection inside a transaction that holds the write lock from its start; rolled back on any error."""
    path = registry_path()
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_connect(path, "rwc")) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except SPDError:
        raise
    except sqlite3.OperationalError as error:
        reason = str(error)
        hint = f" (other processes held it for {BUSY_TIMEOUT_S:.0f} s)" if "locked" in reason else ""
        raise SPDError(f"{path}: the registry of ensembles cannot be used: {reason}{hint}") from error
    except sqlite3.DatabaseError as error:
        raise DamagedFileError(f"{path}: is no registry of ensembles, or damaged: {error}") from error
    except OSError as error:
        raise SPDError(f"{path}: the registry of ensembles cannot be used: {error.strerror or error}") from error
